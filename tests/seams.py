"""How audible the seams of a stream are: the spectral change at seams against the change elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anivoice.engine.batch import Job, LiveRequest
from anivoice.engine.engine import Engine
from anivoice.session import LiveStream, Source, Step

Samples = NDArray[np.float32]
Spoil = Callable[[LiveRequest], LiveRequest]

FLUX_HOP_S = 0.0025
FLUX_WINDOW_S = 0.010
NUM_BANDS = 40
FLOOR = 1e-5


@dataclass(frozen=True)
class StreamRun:
    """A stream's output, and how well each window agreed with the tail of the one before."""

    output: Samples
    mismatches: list[float]
    """Level of the difference by the level of the tail, at the chosen offset; 0 is the same signal, 1.4 another."""


def run_stream(
    engine: Engine, source: Source, samples: Samples, seed: int = 1, spoil: Spoil | None = None
) -> StreamRun:
    """A stream through the engine, one step after the other. `spoil` may change each request."""
    stream, job = LiveStream(source, seed), Job()
    mismatches: list[float] = []
    stream.watch_seams(lambda tail, head: mismatches.append(_mismatch(tail, head)))

    def answer(step: Step) -> Samples:
        request = stream.request(step)
        if request is None:
            return stream.finish(step, None)
        asked = request if spoil is None else spoil(request)
        return stream.finish(step, engine.submit(asked, job, deadline_s=0.0).result())

    steps = [answer(step) for step in stream.feed(samples)]
    output = np.concatenate([*steps, *(answer(step) for step in stream.flush())])
    return StreamRun(output, mismatches)


def _mismatch(tail: Samples, head: Samples) -> float:
    level = float(np.linalg.norm(tail))
    return float(np.linalg.norm(head - tail)) / level if level > 0 else 0.0


def forget_position(request: LiveRequest) -> LiveRequest:
    """A request whose noise and source phase begin anew: the proof that tying them to positions is what helps."""
    seed = abs(hash((request.noise_seed, request.window_frame))) % 2**31
    return replace(request, noise_seed=seed, initial_phase=0.0)


def seam_ratio(out: Samples, rate_hz: int, stream: LiveStream) -> float:
    """Mean spectral change within the crossfades by the mean change elsewhere; 1.0 means that a seam is like the rest.

    The change is that of log band energies from a frame of 10 ms to the next, 2.5 ms later. Silence does not count.
    """
    change, times_s, energy = spectral_change(out, rate_hz)
    g = stream.geometry
    delay_s = g.delay_frames / 100
    position_s = (times_s + delay_s) % (g.block_frames / 100)
    at_seam = position_s < g.crossfade_frames / 100 + FLUX_WINDOW_S
    heard = energy > 0.01 * np.median(energy[energy > 0]) if (energy > 0).any() else energy > 0
    inside = heard & (times_s > 0.3) & (times_s < times_s[-1] - 0.3)
    return float(np.mean(change[inside & at_seam]) / np.mean(change[inside & ~at_seam]))


def spectral_change(out: Samples, rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Change of the log band energies, the time of each change in seconds, and the energy there."""
    hop, size = round(FLUX_HOP_S * rate_hz), round(FLUX_WINDOW_S * rate_hz)
    frames = np.lib.stride_tricks.sliding_window_view(out.astype(np.float64), size)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)))
    edges = np.unique(np.geomspace(2, power.shape[1], NUM_BANDS + 1).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    log_bands = np.log(bands + FLOOR)
    change = np.mean(np.abs(np.diff(log_bands, axis=0)), axis=1)
    times_s = (np.arange(len(change)) + 1) * hop / rate_hz + size / rate_hz / 2
    return change, times_s, power.sum(axis=1)[1:]

"""What a listener could hear of a stream's blocks: the change at seams, and how far it is from a file's conversion."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from anivoice.audio.live_geometry import delay_frames
from anivoice.engine.batch import Job, WindowRequest, WindowResult
from anivoice.engine.engine import Engine
from anivoice.live.stream import LiveStream, Source, Step
from anivoice.models.mel import SAMPLE_RATE_HZ, LogMel

Samples = NDArray[np.float32]
Spoil = Callable[[WindowRequest], WindowRequest]

NUM_MELS = 80
DB_PER_NEPER = 20 / math.log(10)
MEL_RANGE_DB = 60.0
LAG_HOP_S = 0.001
LAG_WINDOW_S = 0.04
MAX_LAG_MS = 50
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
    f0_hz: NDArray[np.float32]
    """As estimated, by absolute frame: every frame as it was when its block was decoded. NaN where nothing was."""


def run_stream(
    engine: Engine, source: Source, samples: Samples, seed: int = 1, spoil: Spoil | None = None
) -> StreamRun:
    """A stream through the engine, one step after the other. `spoil` may change each request."""
    stream, job = LiveStream(source, seed), Job()
    mismatches: list[float] = []
    stream.watch_seams(lambda tail, head: mismatches.append(_mismatch(tail, head)))
    f0_hz = np.full(len(samples) * 100 // source.parameters.sample_rate + 1, np.nan, np.float32)

    def answer(step: Step) -> Samples:
        request = stream.request(step)
        if request is None:
            return stream.finish(step, None)
        asked = request if spoil is None else spoil(request)
        result = engine.submit(asked, job, deadline_s=0.0).result()
        _note_contour(f0_hz, asked, result)
        return stream.finish(step, result)

    steps = [answer(step) for step in stream.feed(samples)]
    output = np.concatenate([*steps, *(answer(step) for step in stream.flush())])
    return StreamRun(output, mismatches, f0_hz)


def _note_contour(f0_hz: Samples, request: WindowRequest, result: WindowResult) -> None:
    """Takes the frames that were decoded for the first time."""
    start, stop = max(request.window_frame, 0), request.window_frame + request.layout.end_decoded_frame
    there = f0_hz[start : max(stop, 0)]
    heard = result.f0_hz[start - request.window_frame :][: len(there)]
    there[:] = np.where(np.isnan(there), heard, there)


def _mismatch(tail: Samples, head: Samples) -> float:
    level = float(np.linalg.norm(tail))
    return float(np.linalg.norm(head - tail)) / level if level > 0 else 0.0


def forget_position(request: WindowRequest) -> WindowRequest:
    """A request whose noise and source phase begin anew: the proof that tying them to positions is what helps."""
    seed = abs(hash((request.noise_seed, request.window_frame))) % 2**31
    return replace(request, noise_seed=seed, initial_phase=0.0)


def seam_ratio(out: Samples, rate_hz: int, stream: LiveStream) -> float:
    """Mean spectral change within the crossfades by the mean change elsewhere; 1.0 means that a seam is like the rest.

    The change is that of log band energies from a frame of 10 ms to the next, 2.5 ms later. Silence does not count.
    """
    change, times_s, energy = spectral_change(out, rate_hz)
    g = stream.geometry
    delay_s = delay_frames(g) / 100
    position_s = (times_s + delay_s) % (g.block_frames / 100)
    at_seam = position_s < g.crossfade_frames / 100 + FLUX_WINDOW_S
    heard = energy > 0.01 * np.median(energy[energy > 0]) if (energy > 0).any() else energy > 0
    inside = heard & (times_s > 0.3) & (times_s < times_s[-1] - 0.3)
    return float(np.mean(change[inside & at_seam]) / np.mean(change[inside & ~at_seam]))


def spectral_change(out: Samples, rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Change of the log band energies, the time of each change in seconds, and the energy there."""
    log_bands, energy = _log_bands(out, rate_hz, FLUX_HOP_S, FLUX_WINDOW_S)
    change = np.mean(np.abs(np.diff(log_bands, axis=0)), axis=1).astype(np.float64)
    times_s = (np.arange(len(change), dtype=np.float64) + 1) * FLUX_HOP_S + FLUX_WINDOW_S / 2
    return change, times_s, energy[1:]


def _log_bands(
    samples: Samples, rate_hz: int, hop_s: float, window_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log energies of bands of equal width in pitch, `[num_frames, num_bands]`, and the whole energy."""
    hop, size = round(hop_s * rate_hz), round(window_s * rate_hz)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)))
    edges = np.unique(np.geomspace(2, power.shape[1], NUM_BANDS + 1).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    return np.log(bands + FLOOR), power.sum(axis=1)


def mel_distance_db(one: Samples, other: Samples, rate_hz: int) -> float:
    """Mean absolute difference of the log-mel spectra (80 bands up to 8 kHz, 10 ms); below 60 dB under the peak all is
    the same.
    """
    first, second = (_mel_db(samples, rate_hz) for samples in (one, other))
    num = min(first.shape[1], second.shape[1])
    floor = max(first.max(), second.max()) - MEL_RANGE_DB
    return float(np.mean(np.abs(np.maximum(first[:, :num], floor) - np.maximum(second[:, :num], floor))))


def _mel_db(samples: Samples, rate_hz: int) -> NDArray[np.float32]:
    import soxr

    log_mel = LogMel(NUM_MELS, 0.0, SAMPLE_RATE_HZ / 2, htk=False)
    at_16k = torch.from_numpy(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ))
    return np.asarray(log_mel(at_16k[None])[0].numpy() * DB_PER_NEPER, np.float32)


def lag_ms(late: Samples, early: Samples, rate_hz: int) -> float:
    """How much later `late` is, to 1 ms: where the spectra agree best within 50 ms.

    A periodic sound has no sharp answer. Not by the waveforms: those of a stream and of a file may differ by the phase
    of the harmonics, which nobody hears.
    """
    reach = MAX_LAG_MS
    one, other = (_log_bands(samples, rate_hz, LAG_HOP_S, LAG_WINDOW_S)[0] for samples in (late, early))
    num = min(len(one), len(other)) - 2 * reach
    middle = other[reach : reach + num]
    distances = [float(np.mean(np.abs(one[shift : shift + num] - middle))) for shift in range(2 * reach + 1)]
    return float(np.argmin(distances) - reach)


def share_within_cents(f0_hz: NDArray[np.floating], wanted_hz: NDArray[np.floating], cents: float) -> float:
    """Share of the frames, voiced in `wanted_hz`, whose f0 is within so many cents; 1.0 where nothing is voiced."""
    num = min(len(f0_hz), len(wanted_hz))
    wanted = wanted_hz[:num]
    voiced = wanted > 0
    ratio = np.where(f0_hz[:num][voiced] > 0, f0_hz[:num][voiced], 1e-3) / wanted[voiced]
    return float(np.mean(np.abs(1200 * np.log2(ratio)) <= cents)) if voiced.any() else 1.0

"""Cutting a recording into the windows of a live stream, the state carried from one to the next by hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from anivoice.engine.batch import WindowRequest, WindowResult
from anivoice.frames import FRAME_SAMPLES, WindowLayout
from anivoice.models.voice_config import UnvoicedF0
from anivoice.stages.options import ConversionOptions
from anivoice.voices.voice import Voice


@dataclass
class WindowedStream:
    """A stream whose request of one step takes f0 and phase from the result of the step before."""

    voice: Voice
    recording: NDArray[np.float32]
    geometry: WindowLayout
    algo: str = "pm"
    seed: int | None = 1
    pitch_change: float = 0.0
    unvoiced_f0: UnvoicedF0 = "zero"
    options: ConversionOptions = field(default_factory=ConversionOptions)

    def __post_init__(self) -> None:
        P = self.geometry.window_frames
        self.step = 0
        self.f0_hz, self.num_known = np.zeros(P, np.float32), 0
        self.phase = 0.0

    @property
    def num_steps(self) -> int:
        return len(self.recording) // self.geometry.block_samples

    def request(self) -> WindowRequest:
        g = self.geometry
        stop = (self.step + 1) * g.block_frames
        start = stop - g.window_frames
        before = np.zeros(max(-start, 0) * FRAME_SAMPLES, np.float32)
        samples = np.concatenate([before, self.recording[max(start, 0) * FRAME_SAMPLES : stop * FRAME_SAMPLES]])
        return WindowRequest(
            voice=self.voice,
            layout=g,
            samples=samples,
            window_frame=start,
            f0_known_hz=self.f0_hz,
            num_known_frames=self.num_known,
            initial_phase=self.phase,
            noise_seed=self.seed,
            algo=self.algo,
            f0_method_weight=0.33,
            pitch_change=self.pitch_change,
            unvoiced_f0=self.unvoiced_f0,
            options=self.options,
        )

    def take(self, result: WindowResult) -> None:
        """What was decoded, and the look-ahead but for its last frames, is settled."""
        g = self.geometry
        self.f0_hz = np.concatenate([result.f0_hz[g.block_frames :], np.zeros(g.block_frames, np.float32)])
        self.num_known = g.window_frames - g.lookahead_frames - g.block_frames
        self.phase = result.next_phase
        self.step += 1

    def run(self, compute: Callable[[WindowRequest], WindowResult]) -> Iterator[WindowResult]:
        while self.step < self.num_steps:
            result = compute(self.request())
            self.take(result)
            yield result


def overlaps(
    results: list[WindowResult], geometry: WindowLayout, frame_samples: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """What successive windows both decoded: the end of one, the beginning of the next."""
    n = geometry.block_frames * frame_samples
    for before, after in pairwise(results):
        tail = before.waveform[n:]
        yield tail, after.waveform[: len(tail)]


def segment_request(
    voice: Voice,
    samples: NDArray[np.float32],
    f0_hz: NDArray[np.float64] | None,
    first_frame: int,
    num_frames: int,
    options: ConversionOptions,
    noise_seed: int | None = 1,
) -> WindowRequest:
    """A segment of a file: an even number of frames in all, and all its pitch is known."""
    window_frames = len(samples) // FRAME_SAMPLES // 2 * 2
    known_hz = np.zeros(window_frames) if f0_hz is None else f0_hz[:window_frames]
    return WindowRequest(
        voice=voice,
        layout=WindowLayout(num_frames, first_frame, lookahead_frames=window_frames - first_frame - num_frames),
        samples=samples,
        window_frame=8,
        f0_known_hz=known_hz,
        num_known_frames=window_frames,
        initial_phase=0.25,
        noise_seed=noise_seed,
        options=options,
    )

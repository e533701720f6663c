"""Cutting a recording into the windows of a live stream, the state carried from one to the next by hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.live_geometry import FRAME_SAMPLES, LiveGeometry
from anivoice.engine.batch import LiveRequest, LiveResult
from anivoice.models.voice_config import UnvoicedF0
from anivoice.stages.options import ConversionOptions
from anivoice.voices.voice import Voice


@dataclass
class WindowedStream:
    """A stream whose request of one step takes f0 and phase from the result of the step before."""

    voice: Voice
    recording: NDArray[np.float32]
    geometry: LiveGeometry
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

    def request(self) -> LiveRequest:
        g = self.geometry
        stop = g.end_frame(self.step)
        start = stop - g.window_frames
        before = np.zeros(max(-start, 0) * FRAME_SAMPLES, np.float32)
        samples = np.concatenate([before, self.recording[max(start, 0) * FRAME_SAMPLES : stop * FRAME_SAMPLES]])
        return LiveRequest(
            self.voice,
            samples,
            start,
            g.first_decoded_frame,
            g.decode_frames,
            g.block_frames,
            g.lookahead_frames,
            self.f0_hz,
            self.num_known,
            self.phase,
            self.seed,
            self.algo,
            0.33,
            self.pitch_change,
            self.unvoiced_f0,
            self.options,
        )

    def take(self, result: LiveResult) -> None:
        """What was decoded, and the look-ahead but for its last frames, is settled."""
        g = self.geometry
        self.f0_hz = np.concatenate([result.f0_hz[g.block_frames :], np.zeros(g.block_frames, np.float32)])
        self.num_known = g.window_frames - g.lookahead_frames - g.block_frames
        self.phase = result.next_phase
        self.step += 1

    def run(self, compute: Callable[[LiveRequest], LiveResult]) -> Iterator[LiveResult]:
        while self.step < self.num_steps:
            result = compute(self.request())
            self.take(result)
            yield result


def overlaps(
    results: list[LiveResult], geometry: LiveGeometry, frame_samples: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """What successive windows both decoded: the end of one, the beginning of the next."""
    n = geometry.block_frames * frame_samples
    for before, after in pairwise(results):
        tail = before.waveform[n:]
        yield tail, after.waveform[: len(tail)]

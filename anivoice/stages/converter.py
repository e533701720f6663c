"""One window of audio through content encoder, retrieval and synthesizer: the four stages of a voice joined.

Shape letters: L samples at 16 kHz, N content frames of 20 ms, P frames of 10 ms, F feature dimensions.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anivoice.models.steps import named
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.options import ConversionOptions
from anivoice.stages.retrieval import Retriever, protect_unvoiced, repeat_frames
from anivoice.stages.synthesizer import Excitation, VoiceSynthesizer

FRAME_SAMPLES = 160
"""Samples of a 10 ms frame at 16 kHz."""


@dataclass(frozen=True)
class Window:
    """16 kHz audio `[L]` float32 with its context, and which of its 10 ms frames are wanted."""

    samples: Tensor
    excitation: Excitation
    first_frame: int
    num_frames: int


class Converter:
    """The stages of one voice on one device. It holds no state of any stream."""

    def __init__(self, encoder: ContentEncoder, synthesizer: VoiceSynthesizer, retriever: Retriever | None) -> None:
        self.encoder = encoder
        self.synthesizer = synthesizer
        self.retriever = retriever

    def steps(self, window: Window, options: ConversionOptions) -> Generator[str, None, Tensor]:
        """Yields the stage's name after each piece of work; returns the wanted frames' waveform `[num_frames * S]`."""
        encoding = self.encoder.steps(window.samples.unsqueeze(0), self.synthesizer.config.version)
        content = (yield from named("content", encoding))[0]
        yield "content"
        f0_hz = window.excitation.f0_hz
        num_frames = min(len(window.samples) // FRAME_SAMPLES, 2 * len(content))
        if f0_hz is not None:
            num_frames = min(num_frames, len(f0_hz))
            f0_hz = f0_hz[:num_frames]
        features = self._features(content, f0_hz, options)[:num_frames]
        yield "retrieval"
        return (
            yield from self.synthesizer.steps(
                features,
                replace(window.excitation, f0_hz=f0_hz),
                window.first_frame,
                window.num_frames,
                options.speaker_id,
                options.formant_shift,
            )
        )

    def _features(self, content: Tensor, f0_hz: Tensor | None, options: ConversionOptions) -> Tensor:
        """Content `[N, F]` with what was retrieved, at 100 Hz: `[2 N, F]`, cut to f0's length where there is f0."""
        if self.retriever is None or options.index_rate == 0:
            return repeat_frames(content)
        blended = repeat_frames(self.retriever.blend(content, options.index_rate))
        if f0_hz is None:
            return blended
        P = len(f0_hz)
        f0 = f0_hz.to(torch.float32).to(content.device)
        return protect_unvoiced(blended[:P], repeat_frames(content)[:P], f0, options.protect)

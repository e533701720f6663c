"""A window of audio through a voice: the tensor work of live streams and files alike, several windows at once.

Shape letters: B windows, L samples at 16 kHz, P frames of 10 ms, N content frames of 20 ms, F feature dimensions,
C latent channels, S output samples per frame. What belongs to a stream (speaker, pitch, noise, phase, ...) is a row of
a tensor, so that streams of one layout and voice are computed together. A file's segment is a batch of one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from anivoice.frames import WindowLayout
from anivoice.models.prior_memory import PriorMemory
from anivoice.models.sine_source import phase_after
from anivoice.models.vits import Prior, flow_first_frame
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.pitch.contour import coarse_pitch, interpolate_unvoiced
from anivoice.stages.retrieval import Retriever, protect_unvoiced, repeat_frames
from anivoice.stages.sinc_resampler import resample
from anivoice.stages.synthesizer import NUM_RESAMPLING_FRAMES, VoiceSynthesizer

MAX_LIVE_HALO_FRAMES = 4
"""Of windows that overlap so many frames are decoded on both sides of the wanted part at most, and thrown away. A
shorter halo than the decoder's spoils the outermost frames (with random weights -58 dB in the last one, 10 to 20 dB
less in each one further in), and those are crossfaded.
"""


@dataclass(eq=False)
class PlacedVoice:
    """The stages of one voice on one device. It holds no state of any stream."""

    encoder: ContentEncoder
    synthesizer: VoiceSynthesizer
    retriever: Retriever | None = None


def fill_content(content: Tensor, num_frames: int) -> Tensor:
    """Content `[B, N, F]` -> `[B, num_frames, F]`, the last frame repeated where one is missing (SPEC 11.4)."""
    num_missing = max(num_frames - content.shape[1], 0)
    return torch.cat([content, content[:, -1:].expand(-1, num_missing, -1)], dim=1)[:, :num_frames]


def merge_contours(known_hz: Tensor, num_known: Tensor, estimated_hz: Tensor) -> Tensor:
    """`known_hz` `[B, P]`, valid for the first `num_known` `[B]` frames; after them the estimate of the window's end.

    `estimated_hz` `[B, n + 1]` belongs to the last n frames and the end itself, which is dropped.
    """
    P, n = known_hz.shape[1], estimated_hz.shape[1] - 1
    estimated = F.pad(estimated_hz[:, max(n - P, 0) : n], (max(P - n, 0), 0))
    is_known = torch.arange(P, device=known_hz.device) < num_known.unsqueeze(1)
    return torch.where(is_known, known_hz, estimated)


def heard_f0(raw_hz: Tensor, fills_gaps: Tensor, factor: Tensor) -> Tensor:
    """The estimator's contours `[B, P]` as each voice wants them: gaps filled where `fills_gaps` `[B]`, transposed."""
    filled = torch.where(fills_gaps.unsqueeze(1), interpolate_unvoiced(raw_hz), raw_hz)
    return filled * factor.unsqueeze(1)


class SynthesisInput(NamedTuple):
    """What a voice's network takes for B windows.

    `f0_hz` `[B, P]` is the pitch to be heard (None for voices without f0), `phase` `[B]` float64 the source's before
    the first wanted frame, in cycles. Noise is standard normal: `latent_noise` `[B, C, P - flow_start]`,
    `source_noise` `[B, (stop - start) * S]` (None without f0). `speaker_ids` `[B]`. `grid` `[B]` is
    `WindowSynthesis.grid`, None without a formant shift.
    """

    features: Tensor
    f0_hz: Tensor | None
    phase: Tensor
    latent_noise: Tensor
    source_noise: Tensor | None
    speaker_ids: Tensor
    grid: Tensor | None = None


class PriorWindow(NamedTuple):
    """Where a window lies in its stream, for the prior: `first_frame` of 10 ms."""

    memory: PriorMemory
    first_frame: int


class WindowSynthesis:
    """A voice at work on windows of one layout and one formant shift.

    The prior sees the window from `prior_start` on (of most voices all of it), the flow what its output depends on, the
    decoder the frames `start` to `stop`: the wanted ones, a little before them, and of the look-ahead as much as
    matters. Retrieval is for the frames from `retrieval_start` on. Where a window lies in its stream is no part of it:
    windows of any positions can be computed together, and by the same recording.
    """

    def __init__(self, synthesizer: VoiceSynthesizer, layout: WindowLayout, formant_shift: float) -> None:
        self.synthesizer = synthesizer
        self.layout = layout
        self.S = synthesizer.config.frame_samples
        self.stretched_samples = synthesizer.stretched_frame_samples(formant_shift)
        self.is_shared = not (layout.overlaps and synthesizer.is_small)
        max_halo = MAX_LIVE_HALO_FRAMES if layout.overlaps else synthesizer.halo_frames
        halo = self._halo(min(max_halo, synthesizer.halo_frames))
        self.start = max(layout.first_decoded_frame - halo, 0)
        self.stop = min(layout.end_decoded_frame + min(halo, layout.lookahead_frames), layout.window_frames)
        self.flow_start = self.start if synthesizer.model.flow.is_identity else flow_first_frame(self.start)
        # A segment of a file is heard as a whole, as the reference hears it.
        context = synthesizer.prior_context_frames if layout.overlaps else None
        self.prior_start = 0 if context is None else max(self.flow_start - context, 0)
        self.retrieval_start = self.flow_start if layout.overlaps else 0

    @property
    def is_stretched(self) -> bool:
        """Whether there is a formant shift."""
        return self.stretched_samples != self.S

    def grid(self, window_frame: int) -> int:
        """Where on the grid of stretched frames the decoded part of the window begins, in samples, 0 to S - 1.

        That grid is one for all windows of a stream; `window_frame` is the window's absolute position.
        """
        return (window_frame + self.start) * self.stretched_samples % self.S

    @property
    def constants(self) -> list[Tensor]:
        """Tensors that it uses beside its input."""
        return [self.synthesizer.resampling_kernel(self.stretched_samples)] if self.is_stretched else []

    def features(
        self,
        retriever: Retriever | None,
        content: Tensor,
        rates: Sequence[float],
        f0_hz: Tensor | None,
        protect: Tensor,
    ) -> Tensor:
        """Content `[B, N, F]` -> `[B, P, F]`, with the share `rates[i]` of what the index gives; where `f0_hz` `[B, P]`
        is unvoiced, with `protect` `[B]` of that.
        """
        rows = [row for row, rate in enumerate(rates) if rate > 0]
        if retriever is None or not rows:
            return repeat_frames(content)
        content = F.pad(content, (0, retriever.dim - content.shape[2]))
        first = self.retrieval_start // 2
        own = torch.stack([content[row, first:] for row in rows])
        retrieved = retriever.blend(own.flatten(0, 1), 1.0).view_as(own)
        blended = content.clone()
        for i, row in enumerate(rows):
            blended[row, first:] = rates[row] * retrieved[i] + (1 - rates[row]) * own[i]
        if f0_hz is None:
            return repeat_frames(blended)
        return protect_unvoiced(repeat_frames(blended), repeat_frames(content), f0_hz, protect)

    def next_phase(self, x: SynthesisInput) -> Tensor:
        """`[B]`, cycles: before the first wanted frame of the next window."""
        first = self.layout.first_decoded_frame
        return self._advance(x, first, first + self.layout.block_frames)

    def __call__(self, x: SynthesisInput) -> Tensor:
        """The wanted waveform `[B, decode_frames * S]`."""
        return self.decode(self.latent(self.prior(x), x), x)

    def prior(self, x: SynthesisInput) -> Prior:
        """Of the frames from `flow_start` on."""
        features, coarse = x.features[:, self.prior_start :], self._coarse(x)
        coarse = None if coarse is None else coarse[:, self.prior_start :]
        first_frame = self.flow_start - self.prior_start
        return self.synthesizer.model.prior(features, coarse, first_frame=first_frame)

    def stream_prior(self, x: SynthesisInput, remembered: Sequence[PriorWindow]) -> Prior:
        """The same, stream by stream: it does not hear the windows, but goes on from what each memory knows."""
        coarse, rows = self._coarse(x), []
        for row, window in enumerate(remembered):
            wanted = window.first_frame + self.flow_start
            start = window.memory.start(wanted, self.flow_start - self.prior_start)
            num_settled = wanted + self.layout.block_frames - start
            first = start - window.first_frame
            pitch = None if coarse is None else coarse[row : row + 1, first:]
            features = x.features[row : row + 1, first:]
            prior = self.synthesizer.model.enc_p.stream(features, pitch, window.memory, start, num_settled)
            rows.append((prior.mean[:, :, wanted - start :], prior.log_std[:, :, wanted - start :]))
        means, log_stds = zip(*rows, strict=True)
        return Prior(torch.cat(means), torch.cat(log_stds), None)

    def latent(self, prior: Prior, x: SynthesisInput) -> Tensor:
        """Of the decoded frames, `[B, C, stop - start]`."""
        z = self.synthesizer.model.latent(prior, self._speaker(x), x.latent_noise)
        return z[:, :, self.start - self.flow_start : self.stop - self.flow_start]

    def decode(self, z: Tensor, x: SynthesisInput) -> Tensor:
        """The wanted waveform `[B, decode_frames * S]` float32."""
        waveform = self._decoded(z, self._speaker(x), x)
        wanted = waveform[:, (self.layout.first_decoded_frame - self.start) * self.S :]
        return wanted[:, : self.layout.decode_frames * self.S]

    def _speaker(self, x: SynthesisInput) -> Tensor:
        return self.synthesizer.model.speaker(x.speaker_ids)

    def _halo(self, num_frames: int) -> int:
        """More, where several frames are decoded as one."""
        if not self.is_stretched:
            return num_frames
        return math.ceil(num_frames * self.S / min(self.stretched_samples, self.S)) + NUM_RESAMPLING_FRAMES

    def _coarse(self, x: SynthesisInput) -> Tensor | None:
        """The network is told the pitch that it makes, before resampling shifts pitch and formants together."""
        return None if x.f0_hz is None else coarse_pitch(x.f0_hz * (self.S / self.stretched_samples))

    def _advance(self, x: SynthesisInput, start: int, stop: int) -> Tensor:
        """The source's phase `[B]` after it has gone on from frame `start` to `stop`."""
        if x.f0_hz is None or start == stop:
            return x.phase
        rate_hz = self.synthesizer.config.sample_rate_hz
        return phase_after(x.f0_hz[:, start:stop].float(), rate_hz, self.S, x.phase)[:, -1]

    def _phase_at_start(self, x: SynthesisInput) -> Tensor:
        advanced = self._advance(x, self.start, self.layout.first_decoded_frame)
        return torch.remainder(2 * x.phase - advanced, 1.0)

    def _decoded(self, z: Tensor, g: Tensor, x: SynthesisInput) -> Tensor:
        """Waveform `[B, (stop - start) * S]` float32."""
        model, S = self.synthesizer.model, self.S
        num_frames = self.stop - self.start
        f0 = None if x.f0_hz is None else x.f0_hz[:, self.start : self.stop].float()
        phase = None if x.f0_hz is None else self._phase_at_start(x)
        if x.grid is None:
            z, source = model.decoder_input(z, f0, phase, x.source_noise)
            return self.synthesizer.decode(z, g, source, shared=self.is_shared)
        num_samples = num_frames * self.stretched_samples
        # As many frames as any place on the grid needs: then all windows have one shape.
        num_stretched = -(-(S - 1 + num_samples) // S)
        offset = -x.grid.double() / self.stretched_samples
        stretch = self.stretched_samples / S
        z, source = model.decoder_input(z, f0, phase, x.source_noise, num_stretched, stretch, offset)
        waveform = self.synthesizer.decode(z, g, source, shared=self.is_shared)
        places = x.grid.unsqueeze(1) + torch.arange(num_samples, device=x.grid.device)
        (kernel,) = self.constants
        return resample(waveform.gather(1, places), self.stretched_samples, S, kernel)[:, : num_frames * S]

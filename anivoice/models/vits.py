"""The synthesizer: content features, pitch and speaker -> waveform (SPEC 2).

Parameter names are those of the community checkpoints with the weight norm folded.
Shape letters: B batch, F content dimensions, C latent channels, T frames of 10 ms, S output samples per frame,
G speaker embedding channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.attention import TransformerEncoder, masked
from anivoice.models.flow import RECEPTIVE_FRAMES, Flow
from anivoice.models.nsf_hifigan import MrfHifiGan, NsfHifiGan
from anivoice.models.prior_memory import PriorMemory
from anivoice.models.voice_config import VoiceConfig

NOISE_SCALE = 0.66666
NUM_PITCH_BINS = 256


class Prior(NamedTuple):
    """Distribution of the latent: mean and log standard deviation `[B, C, T]`; `mask` `[B, 1, T]` or None."""

    mean: Tensor
    log_std: Tensor
    mask: Tensor | None

    def sample(self, noise: Tensor | None) -> Tensor:
        """A draw `[B, C, T]`; `noise` is standard normal of that shape, None for the mean itself."""
        if noise is None:
            return masked(self.mean, self.mask)
        return masked(self.mean + torch.exp(self.log_std) * noise * NOISE_SCALE, self.mask)


class TextEncoder(nn.Module):
    """Content features and coarse pitch -> prior (SPEC 2.1). The name is VITS's; the "text" is content features."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.scale = math.sqrt(hidden)
        self.emb_phone = nn.Linear(config.content_dim, hidden)
        if config.has_f0:
            self.emb_pitch = nn.Embedding(NUM_PITCH_BINS, hidden)
        self.encoder = TransformerEncoder(
            hidden, config.filter_channels, config.num_heads, config.num_layers, config.kernel_size
        )
        self.proj = nn.Conv1d(hidden, 2 * config.inter_channels, 1)

    def forward(self, content: Tensor, coarse_pitch: Tensor | None, mask: Tensor | None, first_frame: int) -> Prior:
        """`content` `[B, T, F]`, `coarse_pitch` `[B, T]` 1..255 -> prior of the frames from `first_frame` on."""
        x = self.encoder(self._embedded(content, coarse_pitch), mask, first_frame)
        return self._prior(x, None if mask is None else mask[:, :, first_frame:])

    def stream(
        self, content: Tensor, coarse_pitch: Tensor | None, memory: PriorMemory, start: int, num_settled: int
    ) -> Prior:
        """`content` `[1, T, F]`, `coarse_pitch` `[1, T]` of a stream from its frame `start` on, of which the first
        `num_settled` will not be wanted again -> prior of the T frames. Before them is what `memory` knows.
        """
        x = self._embedded(content, coarse_pitch)
        return self._prior(self.encoder.stream(x, memory, start, num_settled), None)

    def _embedded(self, content: Tensor, coarse_pitch: Tensor | None) -> Tensor:
        # Columns that are not there would be zeros (`small_encoder`).
        x = F.linear(content, self.emb_phone.weight[:, : content.shape[2]], self.emb_phone.bias)
        if coarse_pitch is not None:
            x = x + self.emb_pitch(coarse_pitch)
        return F.leaky_relu(x * self.scale, 0.1).transpose(1, 2)

    def _prior(self, x: Tensor, mask: Tensor | None) -> Prior:
        mean, log_std = masked(self.proj(x), mask).chunk(2, dim=1)
        return Prior(mean, log_std, mask)


class Synthesizer(nn.Module):
    """The whole network of one voice. `forward` joins its parts: `prior`, `latent`, `decoder_input` and `dec`."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        self.config = config
        self.enc_p = TextEncoder(config)
        self.flow = Flow(config.inter_channels, config.hidden_channels, config.gin_channels)
        self.emb_g = nn.Embedding(config.num_speakers, config.gin_channels)
        self.dec = MrfHifiGan(config) if config.vocoder == "MRF HiFi-GAN" else NsfHifiGan(config)

    def speaker(self, speaker_id: Tensor) -> Tensor:
        """`[B]` -> embedding `[B, G, 1]`."""
        return self.emb_g(speaker_id).unsqueeze(-1)  # type: ignore[no-any-return]

    def prior(
        self, content: Tensor, coarse_pitch: Tensor | None, lengths: Tensor | None = None, first_frame: int = 0
    ) -> Prior:
        """Prior of the frames from `first_frame` on, made from all frames.

        `content` `[B, T, F]`; `coarse_pitch` `[B, T]` int 1..255, None for voices without f0; `lengths` `[B]` valid
        frames of each item, None when all are valid.
        """
        mask = None
        if lengths is not None:
            frames = torch.arange(content.shape[1], device=content.device)
            mask = (frames < lengths.unsqueeze(1)).unsqueeze(1).to(content.dtype)
        prior: Prior = self.enc_p(content, coarse_pitch, mask, first_frame)
        return prior

    def latent(self, prior: Prior, g: Tensor, noise: Tensor | None = None) -> Tensor:
        """A draw from the prior through the reversed flow, `[B, C, T]`; `noise` as in `Prior.sample`."""
        z = self.flow.reverse(prior.sample(noise), prior.mask, g)
        return masked(z, prior.mask)

    def decoder_input(
        self,
        z: Tensor,
        f0_hz: Tensor | None = None,
        initial_phase: Tensor | None = None,
        source_noise: Tensor | None = None,
        num_resized_frames: int | None = None,
        stretch: float | None = None,
        offset_frames: float | Tensor = 0.0,
    ) -> tuple[Tensor, Tensor | None]:
        """What the decoder takes: the latent `[B, C, T]` and the harmonic source `[B, 1, T * S]` (voices with f0).

        `f0_hz` `[B, T]`, `initial_phase` `[B]` cycles, `source_noise` standard normal `[B, T * S]`.
        With `num_resized_frames` latent and source are stretched to that many frames, and so will be the waveform:
        brought back to its old duration by resampling, it has the same pitch and moved formants (SPEC 2.5). The factor
        is `num_resized_frames / T`, or `stretch` where it must not be rounded to whole frames; then the first stretched
        frame begins `offset_frames` (one number, or float64 `[B]`) after the first one of `z`.
        """
        source = None if f0_hz is None else self.dec.m_source(f0_hz, initial_phase, source_noise)
        if num_resized_frames is not None:
            if source is not None:
                S = self.config.frame_samples
                source = stretch_linear(source, num_resized_frames * S, stretch, offset_frames * S)
            z = stretch_linear(z, num_resized_frames, stretch, offset_frames)
        return z, source

    def forward(
        self,
        content: Tensor,
        speaker_id: Tensor,
        coarse_pitch: Tensor | None = None,
        f0_hz: Tensor | None = None,
        lengths: Tensor | None = None,
        latent_noise: Tensor | None = None,
        source_noise: Tensor | None = None,
    ) -> Tensor:
        """All frames at once: `[B, T, F]` -> `[B, T * S]`."""
        g = self.speaker(speaker_id)
        z = self.latent(self.prior(content, coarse_pitch, lengths), g, latent_noise)
        z, source = self.decoder_input(z, f0_hz, source_noise=source_noise)
        waveform: Tensor = self.dec(z, g, source)
        return waveform


def stretch_linear(x: Tensor, num_out: int, stretch: float | None = None, offset: float | Tensor = 0.0) -> Tensor:
    """`[B, C, T]` -> `[B, C, num_out]` by linear interpolation, the values at the edges held.

    The factor is `num_out / T`, or `stretch`: then output 0 begins `offset` places after the first input; float64 `[B]`
    if it is not the same for all.
    """
    if stretch is None:
        return x if num_out == x.shape[2] else F.interpolate(x, num_out, mode="linear")
    # In float64: float32 cannot tell apart the places of a long source. Apple's devices have no more.
    device = torch.device("cpu") if x.device.type == "mps" else x.device
    offset = offset.to(device).reshape(-1, 1, 1) if isinstance(offset, Tensor) else offset
    position = (torch.arange(num_out, dtype=torch.float64, device=device) + 0.5) / stretch - 0.5 + offset
    position = position.clamp(0, x.shape[2] - 1)
    left = position.long()
    share = (position - left).to(x.device, x.dtype)
    right = (left + 1).clamp(max=x.shape[2] - 1)
    before, after = (x.gather(2, place.to(x.device).expand(*x.shape[:2], num_out)) for place in (left, right))
    return torch.lerp(before, after, share)


def flow_first_frame(first_frame: int) -> int:
    """First frame the flow must see so that its output from `first_frame` on is what all frames would give."""
    return max(first_frame - RECEPTIVE_FRAMES, 0)


def build_synthesizer(config: VoiceConfig, state: dict[str, Tensor]) -> Synthesizer:
    """The network with a checkpoint's weights (`VoiceCheckpoint.state`), for inference, on the CPU."""
    with torch.device("meta"):
        model = Synthesizer(config)
    model.load_state_dict(state, assign=True)
    model.flow.is_identity = model.flow.shifts_nothing()
    return model.eval().requires_grad_(False)

"""A voice's network while it is trained: the synthesizer, and what tells it which latent a recording should have.

Two recipes. "vits" is the community's (Kim et al., 2021): a posterior encoder turns the recording's spectrum into the
latent, the flow and the text encoder's prior must agree with it. "mel" is the small one: the latent simply is the
recording's log-mel spectrum, scaled; the flow is the identity, the prior has (nearly) no variance, and the text encoder
predicts the latent by regression. Both leave an ordinary voice.

Shape letters: B batch, C latent channels, T frames of 10 ms, F content dimensions, S samples per frame, G speaker
embedding channels.
"""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from anivoice.models.attention import RelativeAttention, masked
from anivoice.models.flow import Coupling, Flow, WaveNet
from anivoice.models.vits import Prior, Synthesizer
from anivoice.models.voice_config import VoiceConfig
from anivoice.training.spectra import VoiceMel, mel_window_samples, stft_magnitude

Recipe = Literal["mel", "vits"]

MEL_CENTRE, MEL_SCALE = -5.0, 2.0
"""log-mel -> latent: about -3..3."""

NO_VARIANCE_LOG_STD = -12.0
NUM_POSTERIOR_LAYERS = 16
SOURCE_GAIN = 3.0

SMALL_32K = VoiceConfig(
    version="v2",
    has_f0=True,
    inter_channels=80,
    hidden_channels=128,
    filter_channels=512,
    num_heads=2,
    num_layers=3,
    kernel_size=3,
    resblock="2",
    resblock_kernel_sizes=(3, 7),
    resblock_dilation_sizes=((1, 3), (1, 5)),
    upsample_rates=(10, 8, 2, 2),
    upsample_initial_channel=256,
    upsample_kernel_sizes=(20, 16, 4, 4),
    num_speakers=1,
    gin_channels=16,
    sample_rate_hz=32000,
)
"""A twentieth of a community voice's work, and 32 kHz, which every RVC loader knows."""

FULL_LAYOUTS: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    32000: ((10, 8, 2, 2), (20, 16, 4, 4)),
    40000: ((10, 10, 2, 2), (16, 16, 4, 4)),
    48000: ((12, 10, 2, 2), (24, 20, 4, 4)),
}
"""Upsampling rates and kernels of the community's v2 voices by their sample rate (SPEC 1.2)."""


def full_config(sample_rate_hz: int, num_speakers: int = 109) -> VoiceConfig:
    """The community's v2 voice of that rate (32000, 40000 or 48000 Hz; SPEC 1.2)."""
    rates, kernels = FULL_LAYOUTS[sample_rate_hz]
    return replace(
        SMALL_32K,
        inter_channels=192,
        hidden_channels=192,
        filter_channels=768,
        num_layers=6,
        resblock="1",
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilation_sizes=((1, 3, 5),) * 3,
        upsample_rates=rates,
        upsample_initial_channel=512,
        upsample_kernel_sizes=kernels,
        num_speakers=num_speakers,
        gin_channels=256,
        sample_rate_hz=sample_rate_hz,
    )


class MelLatent(nn.Module):
    """The recipe "mel": the latent of a recording is its log-mel spectrum with `inter_channels` bands. No weights."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        self.mel = VoiceMel(config.sample_rate_hz, config.inter_channels)

    def forward(self, waveform: Tensor) -> Tensor:
        """`[B, T * S]` -> `[B, C, T]`."""
        latent: Tensor = (self.mel(waveform) - MEL_CENTRE) / MEL_SCALE
        return latent


class PosteriorEncoder(nn.Module):
    """The recipe "vits": spectrum -> mean and log standard deviation of the latent. Names as in base generators."""

    window: Tensor

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        self.num_fft = mel_window_samples(config.sample_rate_hz)
        self.hop_samples = config.frame_samples
        self.register_buffer("window", torch.hann_window(self.num_fft), persistent=False)
        hidden = config.hidden_channels
        self.pre = nn.Conv1d(self.num_fft // 2 + 1, hidden, 1)
        self.enc = WaveNet(hidden, config.gin_channels, NUM_POSTERIOR_LAYERS)
        self.proj = nn.Conv1d(hidden, 2 * config.inter_channels, 1)

    def forward(self, waveform: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, T * S]`, `[B, G, 1]` -> two `[B, C, T]`."""
        pad = self.num_fft - self.hop_samples
        padded = nn.functional.pad(waveform.unsqueeze(1), (pad // 2, pad - pad // 2), mode="reflect").squeeze(1)
        spectrum = stft_magnitude(padded, self.num_fft, self.hop_samples, self.window)
        mean, log_std = self.proj(self.enc(self.pre(spectrum), None, g)).chunk(2, dim=1)
        return mean, log_std


def new_synthesizer(config: VoiceConfig, recipe: Recipe) -> Synthesizer:
    """A network to train from scratch. By torch's own random numbers: seed them first."""
    model = Synthesizer(config)
    for attention in model.enc_p.encoder.attn_layers:
        assert isinstance(attention, RelativeAttention)
        for table in (attention.emb_rel_k, attention.emb_rel_v):
            nn.init.normal_(table, std=float(table.shape[2]) ** -0.5)
    nn.init.normal_(model.enc_p.emb_phone.weight, std=1 / math.sqrt(config.content_dim * config.hidden_channels))
    nn.init.normal_(model.enc_p.emb_pitch.weight, std=1 / math.sqrt(config.hidden_channels))
    nn.init.constant_(model.dec.m_source.l_linear.weight, SOURCE_GAIN)
    nn.init.zeros_(model.dec.m_source.l_linear.bias)
    for layer in model.flow.flows:
        if isinstance(layer, Coupling):
            for parameter in layer.post.parameters():
                nn.init.zeros_(parameter)
    if recipe == "mel":
        fix_prior(model)
    return model


def fix_prior(model: Synthesizer) -> None:
    """Takes the variance out of the prior: what the text encoder says is the latent."""
    half = model.config.inter_channels
    weight, bias = model.enc_p.proj.parameters()
    with torch.no_grad():
        weight[half:] = 0.0
        bias[half:] = NO_VARIANCE_LOG_STD


def trained_parameters(model: Synthesizer, recipe: Recipe, decoder_only: bool) -> list[nn.Parameter]:
    """What the optimizer moves. With the recipe "mel" the flow stays the identity."""
    if decoder_only:
        return list(model.dec.parameters())
    if recipe == "vits":
        return list(model.parameters())
    return [*model.enc_p.parameters(), *model.dec.parameters(), *model.emb_g.parameters()]


def flow_forward(flow: Flow, z: Tensor, g: Tensor) -> Tensor:
    """The flow from the decoder's latent to the prior's, `[B, C, T]`: the inverse of `Flow.reverse` (SPEC 2.3)."""
    for layer in flow.flows:
        if isinstance(layer, Coupling):
            z0, z1 = z.chunk(2, dim=1)
            z = torch.cat([z0, z1 + layer.post(layer.enc(layer.pre(z0), None, g))], dim=1)
        else:
            z = z.flip(1)
    return z


def kl_divergence(z_p: Tensor, log_std_q: Tensor, prior: Prior, mask: Tensor | None = None) -> Tensor:
    """Of posterior and prior at the posterior's draw `z_p` `[B, C, T]`, summed over channels, mean over frames."""
    kl = prior.log_std - log_std_q - 0.5 + 0.5 * (z_p - prior.mean).square() * torch.exp(-2 * prior.log_std)
    frames = kl.shape[0] * kl.shape[2] if mask is None else mask.sum()
    return masked(kl, mask).sum() / frames

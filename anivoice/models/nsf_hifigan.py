"""The decoder: latent frames and f0 -> waveform, HiFi-GAN with a harmonic source (SPEC 2.5, 2.6, 13.1).

Shape letters: B batch, C channels, T frames of 10 ms, S output samples per frame, G speaker embedding channels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.sine_source import HarmonicSource
from anivoice.models.voice_config import VoiceConfig

SLOPE = 0.1
LAST_SLOPE = 0.01
"""Before the last convolution the leaky ReLU has torch's default slope, everywhere else 0.1."""


class ResidualBlock1(nn.Module):
    """Per dilation: leaky ReLU, dilated conv, leaky ReLU, conv, plus the input."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_same_conv(channels, kernel_size, d) for d in dilations)
        self.convs2 = nn.ModuleList(_same_conv(channels, kernel_size, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            x = x + conv2(F.leaky_relu(conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class ResidualBlock2(nn.Module):
    """Per dilation: leaky ReLU, dilated conv, plus the input."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_same_conv(channels, kernel_size, d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, SLOPE))
        return x


class NsfHifiGan(nn.Module):
    """RVC's own decoder, with or without f0."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        block = ResidualBlock1 if config.resblock == "1" else ResidualBlock2
        channels = stage_channels(config)
        self.frame_samples = config.frame_samples
        self.num_kernels = len(config.resblock_kernel_sizes)
        self.conv_pre = nn.Conv1d(config.inter_channels, config.upsample_initial_channel, 7, padding=3)
        self.cond = nn.Conv1d(config.gin_channels, config.upsample_initial_channel, 1)
        self.ups = nn.ModuleList(upsampling_convs(config))
        self.resblocks = nn.ModuleList(
            block(c, k, d)
            for c in channels
            for k, d in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        )
        self.conv_post = nn.Conv1d(channels[-1], 1, 7, padding=3, bias=False)
        if config.has_f0:
            self.m_source = HarmonicSource(config.sample_rate_hz, config.frame_samples)
            self.noise_convs = nn.ModuleList(source_convs(config))

    def forward(self, z: Tensor, g: Tensor, source: Tensor | None) -> Tensor:
        """`z` `[B, C, T]`, `g` `[B, G, 1]`, `source` `[B, 1, T * S]` (f0 models) -> waveform `[B, T * S]` in -1..1."""
        x = self.conv_pre(z) + self.cond(g)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            if source is not None:
                x = x + self.noise_convs[i](source)
            blocks = self.resblocks[i * self.num_kernels : (i + 1) * self.num_kernels]
            x = mean_of(blocks, x)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE))).squeeze(1)


class MrfLayer(nn.Module):
    """One dilated pair of convolutions with a skip connection."""

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _same_conv(channels, kernel_size, dilation)
        self.conv2 = _same_conv(channels, kernel_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, SLOPE)), SLOPE))  # type: ignore[no-any-return]


class MrfBlock(nn.Module):
    """The layers of one kernel size."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MrfLayer(channels, kernel_size, d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MrfHifiGan(nn.Module):
    """Applio's "MRF HiFi-GAN": the same topology with nine sines and other names."""

    NUM_SINES = 9

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        channels = stage_channels(config)
        kernels = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
        self.frame_samples = config.frame_samples
        self.m_source = HarmonicSource(config.sample_rate_hz, config.frame_samples, self.NUM_SINES)
        self.conv_pre = nn.Conv1d(config.inter_channels, config.upsample_initial_channel, 7, padding=3)
        self.cond = nn.Conv1d(config.gin_channels, config.upsample_initial_channel, 1)
        self.upsamples = nn.ModuleList(upsampling_convs(config))
        self.noise_convs = nn.ModuleList(source_convs(config))
        self.mrfs = nn.ModuleList(nn.ModuleList(MrfBlock(c, k, d) for k, d in kernels) for c in channels)
        self.conv_post = nn.Conv1d(channels[-1], 1, 7, padding=3)

    def forward(self, z: Tensor, g: Tensor, source: Tensor | None) -> Tensor:
        """As `NsfHifiGan.forward`; this decoder always has a source."""
        x = self.conv_pre(z) + self.cond(g)
        for up, noise_conv, blocks in zip(self.upsamples, self.noise_convs, self.mrfs, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            x = up(F.leaky_relu(x, SLOPE)) + noise_conv(source)
            x = mean_of(blocks, x)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE))).squeeze(1)


def stage_channels(config: VoiceConfig) -> list[int]:
    """Channels after each upsampling stage."""
    return [config.upsample_initial_channel // 2 ** (i + 1) for i in range(len(config.upsample_rates))]


def upsampling_convs(config: VoiceConfig) -> list[nn.ConvTranspose1d]:
    """One transposed convolution per stage; odd rates need output padding to give exactly `rate` times the length."""
    channels = [config.upsample_initial_channel, *stage_channels(config)]
    convs = []
    for i, (u, k) in enumerate(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)):
        padding, output_padding = ((k - u) // 2, 0) if u % 2 == 0 else (u // 2 + u % 2, 1)
        convs.append(nn.ConvTranspose1d(channels[i], channels[i + 1], k, u, padding, output_padding))
    return convs


def source_convs(config: VoiceConfig) -> list[nn.Conv1d]:
    """One strided convolution per stage that brings the source down to that stage's rate."""
    convs = []
    for i, channels in enumerate(stage_channels(config)):
        stride = math.prod(config.upsample_rates[i + 1 :])
        kernel = 1 if stride == 1 else 2 * stride - stride % 2
        padding = 0 if stride == 1 else (kernel - stride) // 2
        convs.append(nn.Conv1d(1, channels, kernel, stride, padding))
    return convs


def mean_of(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Mean of what the blocks make of `x`."""
    total: Tensor = blocks[0](x)
    for block in blocks[1:]:
        total = total + block(x)
    return total / len(blocks)


def _same_conv(channels: int, kernel_size: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel_size, padding=(kernel_size - 1) * dilation // 2, dilation=dilation)

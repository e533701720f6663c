"""The shape of a voice's network: what a checkpoint's `config` list (or its tensor shapes) says."""

import math
from dataclasses import dataclass
from typing import Literal

Vocoder = Literal["HiFi-GAN", "MRF HiFi-GAN", "RefineGAN"]
Version = Literal["v1", "v2"]
UnvoicedF0 = Literal["zero", "interpolate"]
"""What a voice was taught about unvoiced frames: f0 is 0, or interpolated between voiced neighbours (SPEC 6.2)."""

CONTENT_DIM: dict[Version, int] = {"v1": 256, "v2": 768}


@dataclass(frozen=True)
class VoiceConfig:
    """Hyper-parameters of one synthesizer. Names as in the community format's `config` list (SPEC 1.2).

    `num_speakers` is the number of rows of `emb_g.weight`; the list's own value is not authoritative.
    `upsample_rates` multiply to `sample_rate_hz / 100`: one frame is 10 ms.
    """

    version: Version
    has_f0: bool
    inter_channels: int
    hidden_channels: int
    filter_channels: int
    num_heads: int
    num_layers: int
    kernel_size: int
    resblock: Literal["1", "2"]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    upsample_rates: tuple[int, ...]
    upsample_initial_channel: int
    upsample_kernel_sizes: tuple[int, ...]
    num_speakers: int
    gin_channels: int
    sample_rate_hz: int
    vocoder: Vocoder = "HiFi-GAN"

    @property
    def content_dim(self) -> int:
        """Width of the content features the voice was trained on: 256 (v1) or 768 (v2)."""
        return CONTENT_DIM[self.version]

    @property
    def frame_samples(self) -> int:
        """Output samples per 10 ms frame, the product of the upsampling rates."""
        return math.prod(self.upsample_rates)

    @property
    def decoder_products_per_frame(self) -> int:
        """Multiplications that the decoder's convolutions, plainly computed, make of a frame: what it costs to run."""
        channels, rows = self.upsample_initial_channel, 1
        total = 7 * self.inter_channels * channels
        for u, k in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            channels //= 2
            total += rows * 2 * channels * channels * k
            rows *= u
            kernels = zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True)
            total += rows * channels * channels * sum(size * self._num_convs(d) for size, d in kernels)
        return total + 7 * channels * rows

    @property
    def decoder_receptive_frames(self) -> int:
        """One-sided: a decoded sample depends on no latent frame further away than this (a safe upper bound)."""
        reach = 3
        for u, k in zip(reversed(self.upsample_rates), reversed(self.upsample_kernel_sizes), strict=True):
            reach += max(map(self._block_reach, self.resblock_kernel_sizes, self.resblock_dilation_sizes))
            reach = math.ceil((reach + k) / u)
        return reach + 3

    def _block_reach(self, kernel_size: int, dilations: tuple[int, ...]) -> int:
        """One-sided reach in samples of a residual block."""
        return (kernel_size - 1) // 2 * (sum(dilations) + self._num_convs(dilations) - len(dilations))

    def _num_convs(self, dilations: tuple[int, ...]) -> int:
        """In a residual block; blocks "1" follow each dilated convolution by a plain one."""
        return 2 * len(dilations) if self.resblock == "1" else len(dilations)

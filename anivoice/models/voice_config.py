"""The shape of a voice's network: what a checkpoint's `config` list (or its tensor shapes) says."""

import math
from dataclasses import dataclass
from typing import Literal

Vocoder = Literal["HiFi-GAN", "MRF HiFi-GAN", "RefineGAN"]
Version = Literal["v1", "v2"]

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

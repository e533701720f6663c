"""Full-size networks with random weights, made in memory, and speech-like audio: what the benchmarks run on."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anivoice.errors import InvalidParameter
from anivoice.models.hubert import HubertConfig, HubertModel
from anivoice.models.rmvpe import Rmvpe
from anivoice.models.rmvpe_unet import RmvpeConfig
from anivoice.models.vits import Synthesizer
from anivoice.models.voice_config import VoiceConfig
from anivoice.training.voice_network import FULL_LAYOUTS, full_config
from anivoice.voices.voice import SharedEncoder, Voice, VoiceFiles

HUBERT_BASE = HubertConfig(
    conv_dims=(512,) * 7,
    conv_kernels=(10, 3, 3, 3, 3, 2, 2),
    conv_strides=(5, 2, 2, 2, 2, 2, 2),
    hidden_size=768,
    intermediate_size=3072,
    num_layers=12,
    num_heads=12,
    pos_conv_kernel_size=128,
    pos_conv_groups=16,
)

LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "v1-32k": ((10, 4, 2, 2, 2), (16, 16, 4, 4, 4)),
    "v1-40k": ((10, 10, 2, 2), (16, 16, 4, 4)),
    "v1-48k": ((10, 6, 2, 2, 2), (16, 16, 4, 4, 4)),
    **{f"v2-{rate_hz // 1000}k": layout for rate_hz, layout in FULL_LAYOUTS.items()},
}
"""Upsampling rates and kernels of the real voices (SPEC 1.2)."""


def full_size_config(layout: str) -> VoiceConfig:
    """The configuration that real voices of this layout have. Raises InvalidParameter."""
    if layout not in LAYOUTS:
        raise InvalidParameter(f"--synthetic: {layout!r} is not one of {', '.join(LAYOUTS)}")
    rates, kernels = LAYOUTS[layout]
    return replace(
        full_config(48000),
        version="v1" if layout.startswith("v1") else "v2",
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        sample_rate_hz=100 * math.prod(rates),
    )


def synthetic_voice(layout: str, seed: int = 0) -> Voice:
    """A voice of full size with its own full-size content encoder."""
    torch.manual_seed(seed)
    model = Synthesizer(full_size_config(layout)).eval().requires_grad_(False)
    _calm(model)
    encoder = HubertModel(HUBERT_BASE).eval().requires_grad_(False)
    files = VoiceFiles(f"synthetic-{layout}", Path(f"synthetic-{layout}"), None, None)
    return Voice(files, (), model.config, "zero", model, SharedEncoder(Path("synthetic"), (), encoder))


def synthetic_rmvpe_state(seed: int = 0) -> dict[str, Tensor]:
    """Weights of an rmvpe of full size."""
    torch.manual_seed(seed)
    return {name: _random_like(name, tensor) for name, tensor in Rmvpe(RmvpeConfig()).state_dict().items()}


def synthetic_speech(seconds: float, rate_hz: int = 16000, seed: int = 0) -> NDArray[np.float32]:
    """Harmonics with a gliding pitch, in syllables with pauses."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    f0_hz = 140 + 40 * np.sin(2 * np.pi * 0.4 * t)
    phase = 2 * np.pi * np.cumsum(f0_hz) / rate_hz
    voice = sum(np.sin(h * phase) / h for h in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * t) + 0.4, 0, 1)
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.2 * voice * syllables + 0.002 * noise).astype(np.float32)


def _random_like(name: str, tensor: Tensor) -> Tensor:
    """Weights that keep a signal's level; norms that do nothing."""
    if tensor.ndim >= 2:
        return torch.randn(tensor.shape) * math.sqrt(1 / tensor[0].numel())
    return torch.full(tensor.shape, float(name.endswith(("running_var", ".1.weight", ".4.weight", "bn.weight"))))


def _calm(model: Synthesizer) -> None:
    """Random weights at torch's scale let the signal die away in the decoder; this keeps its level."""
    for name, module in model.dec.named_modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d) and name.startswith(("ups", "conv_pre", "conv_post")):
            module.weight.mul_(2.5)

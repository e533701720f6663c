"""Small voices with random weights, made from a config."""

from dataclasses import replace

import torch

from anivoice.checkpoints.voice_config_values import values_from_config
from anivoice.checkpoints.voice_layout import expected_shapes
from anivoice.models.voice_config import VoiceConfig

SMALL = VoiceConfig(
    version="v2",
    has_f0=True,
    inter_channels=6,
    hidden_channels=8,
    filter_channels=10,
    num_heads=2,
    num_layers=2,
    kernel_size=3,
    resblock="1",
    resblock_kernel_sizes=(3, 7, 11),
    resblock_dilation_sizes=((1, 3, 5),) * 3,
    upsample_rates=(10, 10, 2, 2),
    upsample_initial_channel=16,
    upsample_kernel_sizes=(16, 16, 4, 4),
    num_speakers=3,
    gin_channels=7,
    sample_rate_hz=40_000,
)


def random_state(config: VoiceConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """A folded state dict."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in expected_shapes(config).items()}


def export(config: VoiceConfig = SMALL, /, **changes: object) -> dict[str, object]:
    """The content of a community file with folded weights. `changes` replace entries; None removes one."""
    content: dict[str, object] = {
        "weight": random_state(config),
        "config": values_from_config(config),
        "info": "small",
        "sr": "40k",
        "f0": int(config.has_f0),
        "version": config.version,
        "vocoder": config.vocoder,
        **changes,
    }
    return {key: value for key, value in content.items() if value is not None}


def layout(config: VoiceConfig, rates: tuple[int, ...], kernels: tuple[int, ...], **changes: object) -> VoiceConfig:
    """`config` with another upsampling layout."""
    rate = 100 * torch.tensor(rates).prod().item()
    channels = 2 ** (len(rates) + 1)
    changed = replace(
        config,
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        sample_rate_hz=int(rate),
        upsample_initial_channel=channels,
    )
    return replace(changed, **changes)  # type: ignore[arg-type]

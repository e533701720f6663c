"""What follows from a voice's sizes."""

import torch
from models.test_cpu_decoder import config_of
from torch import Tensor, nn

from anivoice.models.nsf_hifigan import NsfHifiGan
from anivoice.models.voice_config import VoiceConfig

NUM_FRAMES = 9


def counted_products(config: VoiceConfig) -> int:
    """Of the decoder's convolutions on the latent, each as it is computed."""
    total = 0

    def count(module: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
        x = given[0] if isinstance(module, nn.ConvTranspose1d) else made
        total += module.weight.numel() * x.shape[2]

    decoder = NsfHifiGan(config).eval()
    for module in decoder.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d) and module is not decoder.cond:
            module.register_forward_hook(count)
    with torch.inference_mode():
        decoder(torch.randn(1, config.inter_channels, NUM_FRAMES), torch.randn(1, config.gin_channels, 1), None)
    return total


def test_the_decoders_multiplications_are_those_it_makes() -> None:
    for resblock in ("1", "2"):
        config = config_of((5, 4, 2), (3, 7), has_f0=False, resblock=resblock)
        assert counted_products(config) == NUM_FRAMES * config.decoder_products_per_frame

"""Small content encoders with few and random weights."""

from pathlib import Path

import torch

from anivoice.checkpoints.small_encoder_file import save_small_encoder
from anivoice.models.small_encoder import SmallEncoder, SmallEncoderConfig

TINY = SmallEncoderConfig(width=16, num_heads=2, ff_width=24, attention_frames=5, right_frames=(1, 1, 0), num_phones=40)
ENCODER_ID = "anivoice-content-tiny"


def tiny_encoder(config: SmallEncoderConfig = TINY, seed: int = 0) -> SmallEncoder:
    torch.manual_seed(seed)
    model = SmallEncoder(config)
    for layer in model.layers:
        torch.nn.init.normal_(layer.attention.distance_bias)
    return model.eval().requires_grad_(False)


def save_tiny_encoder(path: Path, encoder_id: str = ENCODER_ID) -> Path:
    save_small_encoder(path, tiny_encoder(), encoder_id, step=7)
    return path

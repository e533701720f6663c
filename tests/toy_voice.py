"""A tiny voice and a set of tones to train it on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from anivoice.models.voice_config import VoiceConfig
from anivoice.training.voice_data import write_list, write_sound, write_views
from anivoice.training.voice_network import SMALL_32K

TINY = replace(
    SMALL_32K,
    inter_channels=20,
    hidden_channels=16,
    filter_channels=16,
    num_layers=1,
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1, 3),),
    upsample_initial_channel=32,
    gin_channels=4,
)
CONTENT_WIDTH = 12


def tone(f0_hz: float, num_frames: int, config: VoiceConfig = TINY) -> np.ndarray:
    """A buzz of a few harmonics."""
    t = np.arange(num_frames * config.frame_samples) / config.sample_rate_hz
    return (0.1 * sum(np.sin(2 * np.pi * f0_hz * h * t) / h for h in range(1, 6))).astype(np.float32)


def write_toy_set(folder: Path, config: VoiceConfig = TINY, num_frames: int = 60) -> None:
    """Four tones of different pitch, each with features of its own in two views."""
    names = []
    for number, f0_hz in enumerate((110.0, 150.0, 220.0, 300.0)):
        content = torch.zeros(num_frames // 2, config.content_dim)
        content[:, :CONTENT_WIDTH] = torch.sin(torch.arange(CONTENT_WIDTH) * (number + 1.0))
        f0 = np.full(num_frames, f0_hz, np.float32)
        write_sound(folder, f"{number}", tone(f0_hz, num_frames, config), f0)
        write_views(folder, f"{number}", [content, 0.9 * content])
        names.append(f"{number}")
    write_list(folder, names[:3], names[3:], config.frame_samples, config.content_dim)

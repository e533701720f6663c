"""Cheap changes of log-mel spectrograms while training: `[B, M, 80]`, every row of a batch another."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anivoice.models.encoder_mel import NUM_MELS, POWER_FLOOR

FLOOR = math.log(POWER_FLOOR)
MAX_WARP = 0.08
EQ_POINTS, EQ_SPREAD = 6, 0.8
"""Of a random smooth response, in nepers of power (4.3 dB)."""
MAX_GAIN = 2.5
NOISE_SHARE = 0.4
NOISE_LEVELS = (-13.0, -6.0)
MAX_MASK_BANDS, MAX_MASK_FRAMES = 8, 10


def change_spectra(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Warped, equalised, louder or softer, noisier, with bands and moments missing."""
    mel = _warp(mel, generator)
    mel = mel + _smooth_curves(len(mel), EQ_SPREAD, generator).unsqueeze(1)
    mel = mel + MAX_GAIN * (2 * torch.rand(len(mel), 1, 1, generator=generator) - 1)
    return _mask(_add_noise(mel, generator), generator).clamp(min=FLOOR)


def _warp(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Band b becomes what band b * factor was: formants move, harmonics with them."""
    B, M, _ = mel.shape
    factor = 1 + MAX_WARP * (2 * torch.rand(B, 1, generator=generator) - 1)
    position = (torch.arange(NUM_MELS) * factor).clamp(max=NUM_MELS - 1.001)
    low = position.long()
    share = (position - low).unsqueeze(1)
    index = low.unsqueeze(1).expand(B, M, NUM_MELS)
    return mel.gather(2, index) * (1 - share) + mel.gather(2, index + 1) * share


def _smooth_curves(num_curves: int, spread: float, generator: torch.Generator) -> Tensor:
    """`[num_curves, 80]`: straight lines between random points."""
    points = spread * torch.randn(num_curves, 1, EQ_POINTS, generator=generator)
    return F.interpolate(points, NUM_MELS, mode="linear", align_corners=True).squeeze(1)


def _add_noise(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Steady noise with a random spectrum; its power in a band fluctuates from frame to frame as noise does."""
    B = len(mel)
    low, high = NOISE_LEVELS
    level = low + (high - low) * torch.rand(B, 1, generator=generator)
    level = torch.where(torch.rand(B, 1, generator=generator) < NOISE_SHARE, level, FLOOR)
    spectrum = level + _smooth_curves(B, 1.0, generator)
    fluctuation = 0.4 * torch.randn(mel.shape, generator=generator)
    return torch.logaddexp(mel, spectrum.unsqueeze(1) + fluctuation)


def _mask(mel: Tensor, generator: torch.Generator) -> Tensor:
    """One band and two moments of each row are set to the row's mean."""
    B, M, _ = mel.shape
    mean = mel.mean((1, 2), keepdim=True)
    bands = _spans(B, NUM_MELS, MAX_MASK_BANDS, generator).unsqueeze(1)
    moments = _spans(B, M, MAX_MASK_FRAMES, generator) | _spans(B, M, MAX_MASK_FRAMES, generator)
    return torch.where(bands | moments.unsqueeze(2), mean, mel)


def _spans(num_rows: int, length: int, max_span: int, generator: torch.Generator) -> Tensor:
    """`[num_rows, length]`, true in one random span of each row, which may be empty."""
    span = torch.randint(0, max_span + 1, (num_rows, 1), generator=generator)
    begin = (torch.rand(num_rows, 1, generator=generator) * (length - span)).long()
    position = torch.arange(length)
    return (position >= begin) & (position < begin + span)

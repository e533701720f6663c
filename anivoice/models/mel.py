"""Mel filters, and log-mel spectrograms of 16 kHz audio as the pitch networks want them. Always float32."""

import math

import torch
from torch import Tensor, nn

SAMPLE_RATE_HZ = 16000
MIN_LOG_INPUT = 1e-5

SLANEY_BREAK_HZ = 1000.0
SLANEY_MEL_PER_HZ = 3.0 / 200.0
SLANEY_MEL_PER_LOG_HZ = 27.0 / math.log(6.4)


def hz_to_mel(frequency_hz: float, htk: bool) -> float:
    """HTK: 2595 log10(1 + f/700). Slaney: linear up to 1 kHz (15 mel), logarithmic above (27 mel per factor 6.4)."""
    if htk:
        return 2595.0 * math.log10(1.0 + frequency_hz / 700.0)
    if frequency_hz < SLANEY_BREAK_HZ:
        return frequency_hz * SLANEY_MEL_PER_HZ
    break_mel = SLANEY_BREAK_HZ * SLANEY_MEL_PER_HZ
    return break_mel + math.log(frequency_hz / SLANEY_BREAK_HZ) * SLANEY_MEL_PER_LOG_HZ


def mel_to_hz(mel: Tensor, htk: bool) -> Tensor:
    """The inverse of hz_to_mel for a tensor of mel values."""
    if htk:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    break_mel = SLANEY_BREAK_HZ * SLANEY_MEL_PER_HZ
    logarithmic = SLANEY_BREAK_HZ * torch.exp((mel - break_mel) / SLANEY_MEL_PER_LOG_HZ)
    return torch.where(mel < break_mel, mel / SLANEY_MEL_PER_HZ, logarithmic)


def mel_filterbank(
    num_mels: int, num_fft: int, min_hz: float, max_hz: float, htk: bool, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Tensor:
    """Triangular filters `[num_mels, num_fft//2 + 1]` float32 with Slaney's area normalisation (SPEC 5.1).

    The corners of the triangles are equally spaced in mel; each filter is scaled by 2 / its width in Hz.
    """
    bins_hz = torch.linspace(0.0, sample_rate_hz / 2, num_fft // 2 + 1, dtype=torch.float64)
    low, high = hz_to_mel(min_hz, htk), hz_to_mel(max_hz, htk)
    corners_hz = mel_to_hz(torch.linspace(low, high, num_mels + 2, dtype=torch.float64), htk)
    widths_hz = corners_hz.diff()
    distance_hz = corners_hz[:, None] - bins_hz
    rising = -distance_hz[:-2] / widths_hz[:-1, None]
    falling = distance_hz[2:] / widths_hz[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0.0)
    area_scale = 2.0 / (corners_hz[2:] - corners_hz[:-2])
    return (triangles * area_scale[:, None]).float()


class LogMel(nn.Module):
    """Natural logarithm of the mel magnitudes, 1024-point periodic Hann window, hop 160.

    `power_floor` is added to the squared magnitude. The caller pads: nothing is added at the ends here.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, num_mels: int, min_hz: float, max_hz: float, htk: bool, power_floor: float = 0.0) -> None:
        super().__init__()
        self.num_fft = 1024
        self.hop_samples = 160
        self.power_floor = power_floor
        filters = mel_filterbank(num_mels, self.num_fft, min_hz, max_hz, htk)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(self.num_fft), persistent=False)

    def forward(self, padded: Tensor) -> Tensor:
        """`[B, L]` float32, L >= 1024 -> `[B, num_mels, (L - 1024)//160 + 1]` float32."""
        spectrum = torch.stft(
            padded, self.num_fft, self.hop_samples, window=self.window, center=False, return_complex=True
        )
        magnitude = (spectrum.real.square() + spectrum.imag.square() + self.power_floor).sqrt()
        return torch.matmul(self.filters, magnitude).clamp(min=MIN_LOG_INPUT).log()

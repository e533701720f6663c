"""Spectra for training: the log-mel of a voice's recordings, and the distances between two waveforms.

Shape letters: B batch, L samples, M mel bands, T frames of 10 ms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.mel import mel_filterbank

MIN_MAGNITUDE = 1e-5
MAX_SHORT_WINDOW_RATE_HZ = 32000
STFT_WINDOWS = (512, 1024, 2048, 4096)
"""Samples; the hop of each is a quarter. The longest shows lines between the harmonics."""


def mel_window_samples(sample_rate_hz: int) -> int:
    """1024 up to 32 kHz, 2048 above: the windows of the community's recipes."""
    return 1024 if sample_rate_hz <= MAX_SHORT_WINDOW_RATE_HZ else 2048


class VoiceMel(nn.Module):
    """Natural logarithm of mel magnitudes at a voice's rate; frame `t` is centred on the samples that it decodes to."""

    filters: Tensor
    window: Tensor

    def __init__(self, sample_rate_hz: int, num_mels: int) -> None:
        super().__init__()
        self.num_fft = mel_window_samples(sample_rate_hz)
        self.hop_samples = sample_rate_hz // 100
        filters = mel_filterbank(num_mels, self.num_fft, 0.0, sample_rate_hz / 2, False, sample_rate_hz)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(self.num_fft), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """`[B, L]` float32, L > 1024 -> `[B, M, L // hop]`."""
        pad = self.num_fft - self.hop_samples
        padded = F.pad(waveform.unsqueeze(1), (pad // 2, pad - pad // 2), mode="reflect").squeeze(1)
        magnitude = stft_magnitude(padded, self.num_fft, self.hop_samples, self.window)
        return torch.matmul(self.filters, magnitude).clamp(min=MIN_MAGNITUDE).log()


def stft_magnitude(waveform: Tensor, num_fft: int, hop_samples: int, window: Tensor) -> Tensor:
    """`[B, L]` -> `[B, num_fft // 2 + 1, (L - num_fft) // hop + 1]`, nothing added at the ends."""
    spectrum = torch.stft(waveform, num_fft, hop_samples, window=window, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + MIN_MAGNITUDE**2).sqrt()


class StftDistance(nn.Module):
    """Distance of two waveforms over several windows: spectral convergence plus the mean difference of the logarithms.

    Spectral convergence is |A - B| / |B| in the Frobenius norm (Arik et al., 2018; Yamamoto et al., 2020).
    """

    def __init__(self, windows: Sequence[int] = STFT_WINDOWS) -> None:
        super().__init__()
        self.sizes = tuple(windows)
        for size in self.sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Two `[B, L]` float32 -> a scalar. Windows of more than twice L are left out."""
        total = torch.zeros((), device=made.device)
        sizes = [size for size in self.sizes if size // 2 < made.shape[1]]
        for size in sizes:
            window = self.get_buffer(f"window_{size}")
            a, b = (stft_magnitude(_padded(x, size), size, size // 4, window) for x in (made, real))
            convergence = torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b).clamp(min=MIN_MAGNITUDE)
            total = total + convergence + (a.log() - b.log()).abs().mean()
        return total / len(sizes)


def _padded(waveform: Tensor, window_samples: int) -> Tensor:
    return F.pad(waveform.unsqueeze(1), (window_samples // 2, window_samples // 2), mode="reflect").squeeze(1)

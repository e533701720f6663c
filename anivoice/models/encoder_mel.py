"""What the small content encoder hears: log-mel spectra without what stays the same for three seconds.

Shape letters: B windows, L samples, M mel frames (10 ms).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.mel import mel_filterbank

WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
NUM_FFT = 512
NUM_MELS = 80
MIN_HZ, MAX_HZ = 50.0, 7600.0
POWER_FLOOR = 1e-7

SPEECH_LEVEL, SPEECH_LEVEL_WIDTH = -9.0, 1.0
"""Mean log-mel at which a frame counts half in the running mean, and how sharply: silence leaves the mean as it is."""
MEAN_FRAMES = 300
PRIOR_FRAMES = 30.0
"""Weight of the training data's mean in the running mean, in frames of speech."""


class MelFrontEnd(nn.Module):
    """16 kHz audio `[B, L]` -> log-mel power `[B, M, 80]`, M = (L - 400) // 160 + 1. Float32 throughout."""

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = mel_filterbank(NUM_MELS, NUM_FFT, MIN_HZ, MAX_HZ, htk=True)
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        frames = samples.float().unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * self.window.float()
        spectrum = torch.fft.rfft(frames, NUM_FFT)
        power = spectrum.real.square() + spectrum.imag.square()
        mel: Tensor = (power @ self.filters.float() + POWER_FLOOR).log()
        return mel


class RunningMean(nn.Module):
    """Takes from log-mel what stays the same for three seconds: loudness, microphone, room. Silence does not count.

    The mean over the last MEAN_FRAMES frames, weighted by how much they are speech, and by the training data's mean
    where there is little of it. A window of fixed length, so that it does not matter when a stream began.
    """

    prior: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("prior", torch.full((NUM_MELS,), -5.0))

    def forward(self, mel: Tensor, first_frame: int = 0) -> tuple[Tensor, Tensor]:
        """`[B, M, 80]` -> the difference from the mean, and the mean relative to `prior`, of the frames from
        `first_frame` on, both `[B, M - first_frame, 80]`.
        """
        prior = self.prior.float()
        weight = torch.sigmoid((mel.mean(2, keepdim=True) - SPEECH_LEVEL) / SPEECH_LEVEL_WIDTH)
        weighted = torch.cat([(mel - prior) * weight, weight], dim=2).transpose(1, 2)
        padded = F.pad(weighted, (MEAN_FRAMES - 1, 0))[:, :, first_frame:]
        total = padded.unfold(2, MEAN_FRAMES, 1).sum(3).transpose(1, 2)
        mean = total[:, :, :-1] / (total[:, :, -1:] + PRIOR_FRAMES)
        return mel[:, first_frame:] - prior - mean, mean

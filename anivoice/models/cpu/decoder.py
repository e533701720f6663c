"""The decoder for the CPU in float32: the same function as `NsfHifiGan` and `MrfHifiGan`, several times cheaper.

Two things make it fast: convolutions with fewer multiplications (see `fast_conv`) and work on tiles of time.

Tiling. The decoder is a chain of steps; each turns a signal of rows `[rows, C]` into another one. For the output rows
`[lo, hi)` a step needs the input rows `[a(lo), b(hi))`, which reach beyond by its halo. `_Tiles` asks the step before
for just as many rows as the next tile needs and drops what is no longer needed: memory is bounded by the tiles, and
each row is computed once (a stage's halo, 60 rows on each side at the usual sizes, twice). Rows outside the signal do
not exist: tiles are cut at the signal's ends, where a convolution's own zero padding is what the whole signal would
see, too. Inside, what a tile's false ends spoil is at most the halo, and that is thrown away. So tiles give the same
waveform as the whole.

Threads. A tile's matrix products are too small to be shared out (two threads gained nothing, measured), so each thread
takes a part of every tile's rows, with the stage's halo around it. The threads wait for each other after every group of
convolutions, where other work may come in between.

Shape letters: B batch, C channels, T frames of 10 ms, S output samples per frame, G speaker embedding channels,
R segments that are worked on side by side.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.cpu.residual import Block, ResidualRows, group_places, groups_of
from anivoice.models.cpu.threads import WorkThreads
from anivoice.models.cpu.toom_cook import MIN_DIRECT_PRODUCTS, RowLayout, Scratch, bias_of
from anivoice.models.nsf_hifigan import LAST_SLOPE, SLOPE, MrfHifiGan, NsfHifiGan
from anivoice.models.pauses import point

Decoder = NsfHifiGan | MrfHifiGan
S = TypeVar("S")
T = TypeVar("T")

FRAMES_PER_TILE = 64
SAMPLES_PER_TILE = 4800

MIN_PART_HALOS = 2
"""A part must be this many times longer than what is computed beyond one of its edges."""

NARROW_COST = 20
"""Matrix products on rows of this many values take twice as long per value as on very wide rows (measured)."""


class Tuning(NamedTuple):
    """What decides the speed, not the result. The values were measured on two cores of a Zen 4.

    `segment_rows`: rows of a segment in a full tile; 720 is a whole number of frames for every scheme at the usual
    kernels (3, 7, 11) and dilations (1, 3, 5). `segments_width`: channels x segments at which the matrix products are
    wide enough. `min_direct_products`: convolutions with fewer taps x channels are computed directly.
    """

    segment_rows: int = 720
    segments_width: int = 1024
    min_direct_products: int = MIN_DIRECT_PRODUCTS


class Step(Protocol):
    """One link of the chain. Rows are counted from the start of the signal."""

    rate: int
    tile_rows: int

    def input_range(self, lo: int, hi: int) -> tuple[int, int]:
        """Input rows that output rows `[lo, hi)` depend on, not yet cut at the signal's ends."""
        ...

    def __call__(self, x: Tensor, first: int, lo: int, hi: int, num_rows: int) -> Tensor:
        """Output rows `[lo, hi)` of a signal of `num_rows`; `x` are input rows from `first` on."""
        ...


class _Whole:
    """A signal that is there already, in one tile."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self.num_rows = len(rows)

    def next_tile(self) -> Tensor:
        """Asked for but once."""
        return self._rows


class _Tiles:
    """Output rows of a step in tiles of equal length, from those of the step before."""

    def __init__(self, step: Step, before: "_Whole | _Tiles") -> None:
        self.step, self.before = step, before
        self.num_rows: int = before.num_rows * step.rate
        num_tiles = max(1, round(self.num_rows / step.tile_rows))
        self._tile_rows = math.ceil(self.num_rows / num_tiles)
        self._window, self._first, self._lo = torch.empty(0), 0, 0

    def next_tile(self) -> Tensor:
        """The next rows, as long as there are any."""
        lo, hi = self._lo, min(self._lo + self._tile_rows, self.num_rows)
        a, b = self.step.input_range(lo, hi)
        a, b = max(a, 0), min(b, self.before.num_rows)
        window = self._window[a - self._first :]
        while a + len(window) < b:
            piece = self.before.next_tile()
            window = torch.cat([window, piece]) if len(window) else piece
        self._window, self._first, self._lo = window, a, hi
        return self.step(window[: b - a], a, lo, hi, self.num_rows)

    def all_rows(self) -> Tensor:
        """The whole signal."""
        tiles = [self.next_tile()]
        while self._lo < self.num_rows:
            tiles.append(self.next_tile())
        return torch.cat(tiles)


class _Speaker:
    """`conv_pre` on the latent, plus the speaker's share."""

    rate = 1
    tile_rows = FRAMES_PER_TILE

    def __init__(self, conv: nn.Conv1d, condition: Tensor) -> None:
        self.conv, self.condition = conv, condition
        self.reach = conv.padding[0] if isinstance(conv.padding, tuple) else 0

    def input_range(self, lo: int, hi: int) -> tuple[int, int]:
        return lo - self.reach, hi + self.reach

    def __call__(self, x: Tensor, first: int, lo: int, hi: int, num_rows: int) -> Tensor:
        y: Tensor = self.conv(x.t()) + self.condition
        return y[:, lo - first : hi - first].t().contiguous()


class _Stage:
    """Weights of one upsampling stage: transposed convolution, source, residual blocks.

    `input_scale` multiplies the stage's input: the mean over the last stage's blocks is left to it.
    """

    def __init__(
        self,
        up: nn.ConvTranspose1d,
        noise: nn.Conv1d | None,
        blocks: list[Block],
        input_scale: float,
        tuning: Tuning,
    ) -> None:
        self.channels, self.rate, self.padding = up.out_channels, up.stride[0], int(up.padding[0])
        self.kernel_size = up.kernel_size[0]
        self.blocks = blocks
        weight = F.pad(up.weight.detach() * input_scale, (0, -self.kernel_size % self.rate))
        self.up = [w.permute(0, 2, 1).flatten(1).contiguous() for w in torch.split(weight, self.rate, dim=2)]
        self.bias = bias_of(up) if noise is None else bias_of(up) + bias_of(noise)
        self.noise_weight = None if noise is None else noise.weight.detach()[:, 0].t().contiguous()
        self.noise_stride, self.noise_padding = (1, 0) if noise is None else (noise.stride[0], int(noise.padding[0]))
        convs = [conv for block in blocks for pair in block for conv in pair]
        self.num_bytes = sum(conv.num_bytes for conv in convs) + sum(4 * weight.numel() for weight in self.up)
        self.reach = max(conv.reach for conv in convs)
        self.frame_rows = [conv.frame_rows for conv in convs]
        self.halo = max(sum(conv.reach for pair in block for conv in pair) for block in blocks)
        self.max_segments = max(1, tuning.segments_width // self.channels)
        self.segment_rows = tuning.segment_rows
        rows = tuning.segment_rows * max(self.max_segments, 2)
        self.tile_rows = max(rows - 2 * self.halo, tuning.segment_rows)

    def upsample(self, x: Tensor, first: int, lo: int, hi: int) -> Tensor:
        """Input rows `[L, 2 C]` from `first` on -> output rows `[lo, hi)`, `[hi - lo, C]`.

        Input row t adds `x[t] @ weight[:, :, i]` to output row `t * rate + i - padding`: with the kernel cut into
        pieces of `rate` taps each piece is one matrix product, which gives `rate` output rows per input row.
        """
        L = len(x)
        y = self.bias.repeat(L + len(self.up) - 1, self.rate)
        for i, piece in enumerate(self.up):
            y[i : i + L].addmm_(x, piece)
        start = first * self.rate - self.padding
        return y.view(-1, self.channels)[lo - start : hi - start]

    def add_source(self, y: Tensor, source: Tensor, lo: int, hi: int) -> None:
        """Adds the strided convolution of the padded `source` `[samples]` to output rows `[lo, hi)`."""
        assert self.noise_weight is not None
        frames = source.unfold(0, len(self.noise_weight), self.noise_stride)[lo:hi]
        y.addmm_(frames, self.noise_weight)

    def num_segments(self, num_rows: int) -> int:
        """How many segments to lay side by side: wide rows are fast, but each segment is filled up to whole frames."""

        def cost(num_segments: int) -> float:
            segment_rows = math.ceil(num_rows / num_segments)
            filled = sum(math.ceil(segment_rows / n) * n for n in self.frame_rows)
            return filled * (num_segments + NARROW_COST / self.channels)

        most = max(1, min(self.max_segments, num_rows // max(self.reach, self.segment_rows // 10)))
        return min(range(1, most + 1), key=cost)

    def layout(self, num_rows: int) -> RowLayout:
        """How a tile of `num_rows` is laid out for the residual blocks."""
        R = self.num_segments(num_rows)
        return RowLayout(num_rows, R, self.channels, self.reach, slack=max(self.frame_rows))


class _StageOfSignal:
    """A stage and the source of the signal that it works on. Each of the `scratches` serves a thread."""

    def __init__(
        self, stage: _Stage, source: Tensor | None, scratches: list[Scratch], threads: WorkThreads | None
    ) -> None:
        self.threads, self.scratches = threads, scratches
        self.places = group_places(stage.blocks)
        self.residuals: list[ResidualRows | None] = [None] * len(scratches)
        self.stage, self.rate, self.tile_rows = stage, stage.rate, stage.tile_rows * len(scratches)
        self.source = None if source is None else F.pad(source, (stage.noise_padding, stage.noise_padding))

    def input_range(self, lo: int, hi: int) -> tuple[int, int]:
        stage = self.stage
        lo, hi = max(lo - stage.halo, 0) + stage.padding, hi + stage.halo + stage.padding
        return (lo - stage.kernel_size) // stage.rate + 1, (hi - 1) // stage.rate + 1

    def __call__(self, x: Tensor, first: int, lo: int, hi: int, num_rows: int) -> Tensor:
        bounds = part_bounds(lo, hi, len(self.scratches), self.stage.halo)
        parts = [_Part(i, a, b) for i, (a, b) in enumerate(pairwise(bounds))]
        residuals = self._run(lambda part: self._loaded(part, x, first, num_rows), parts)
        for place in self.places:
            point()
            self._run(partial(ResidualRows.compute, place=place), residuals)
        sums = self._run(ResidualRows.sum, residuals)
        starts = [part.lo - max(part.lo - self.stage.halo, 0) for part in parts]
        wanted = zip(sums, starts, parts, strict=True)
        return torch.cat([rows[start : start + part.hi - part.lo] for rows, start, part in wanted])

    def _run(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """One item after the other, or each on a thread."""
        if self.threads is None or len(items) == 1:
            return [work(item) for item in items]
        return self.threads.run(work, items)

    def _loaded(self, part: "_Part", x: Tensor, first: int, num_rows: int) -> ResidualRows:
        """What the residual blocks make the part from."""
        stage = self.stage
        a, b = max(part.lo - stage.halo, 0), min(part.hi + stage.halo, num_rows)
        start, stop = (row - first for row in self.input_range(part.lo, part.hi))
        start = max(start, 0)
        y = stage.upsample(F.leaky_relu(x[start:stop], SLOPE), first + start, a, b)
        if self.source is not None:
            stage.add_source(y, self.source, a, b)
        residual = self.residuals[part.number]
        if residual is None or residual.layout.num_samples != len(y):
            residual = ResidualRows(stage.blocks, stage.layout(len(y)), self.scratches[part.number])
            self.residuals[part.number] = residual
        residual.load(y)
        return residual


class _Part(NamedTuple):
    """Output rows `[lo, hi)` of a tile; `number` is that of the thread's memory."""

    number: int
    lo: int
    hi: int


def part_bounds(lo: int, hi: int, num_parts: int, halo: int) -> list[int]:
    """Where the rows `[lo, hi)` are cut into at most `num_parts` parts of about the same length, both ends included.

    What is computed beyond a part's edges is at most half as much as the part itself.
    """
    num_parts = max(1, min(num_parts, (hi - lo) // max(MIN_PART_HALOS * halo, 1)))
    return [lo + (hi - lo) * i // num_parts for i in range(num_parts + 1)]


class _Waveform:
    """`conv_post` and tanh: one matrix product for all taps, then the sum of their shifted results."""

    rate = 1
    tile_rows = SAMPLES_PER_TILE

    def __init__(self, conv: nn.Conv1d, input_scale: float) -> None:
        self.weight = conv.weight.detach()[0] * input_scale
        self.bias = bias_of(conv)
        self.reach = conv.kernel_size[0] // 2

    def input_range(self, lo: int, hi: int) -> tuple[int, int]:
        return lo - self.reach, hi + self.reach

    def __call__(self, x: Tensor, first: int, lo: int, hi: int, num_rows: int) -> Tensor:
        taps = F.leaky_relu(x, LAST_SLOPE) @ self.weight
        before = first - (lo - self.reach)
        taps = F.pad(taps, (0, 0, before, hi - lo + 2 * self.reach - before - len(taps)))
        shifted = [taps[i : i + hi - lo, i] for i in range(taps.shape[1])]
        return torch.tanh(torch.stack(shifted).sum(0) + self.bias)


class CpuDecoder:
    """What `decoder` computes, for float32 on the CPU. Later changes of `decoder`'s weights are not seen.

    With `threads` every stage's tiles are shared out among them.
    """

    def __init__(self, decoder: Decoder, tuning: Tuning | None = None, threads: WorkThreads | None = None) -> None:
        tuning = tuning or Tuning()
        self._threads = threads
        self.frame_samples = decoder.frame_samples
        self._pre, self._cond = decoder.conv_pre, decoder.cond
        self._stages: list[_Stage] = []
        scale = 1.0
        for up, noise, modules in _stage_modules(decoder):
            assert isinstance(up, nn.ConvTranspose1d)
            assert noise is None or isinstance(noise, nn.Conv1d)
            assert isinstance(modules, nn.ModuleList)
            blocks = [groups_of(module, tuning.min_direct_products) for module in modules]
            self._stages.append(_Stage(up, noise, blocks, scale, tuning))
            scale = 1 / len(blocks)
        self._post = _Waveform(decoder.conv_post, scale)

    @property
    def num_bytes(self) -> int:
        """Memory of the transformed weights."""
        return sum(stage.num_bytes for stage in self._stages)

    def __call__(self, z: Tensor, g: Tensor, source: Tensor | None, *, shared: bool = True) -> Tensor:
        """`z` `[B, C, T]`, `g` `[B, G, 1]`, `source` `[B, 1, T * S]` (f0 models) -> waveform `[B, T * S]` in -1..1.

        `shared`: among the threads; otherwise the caller's computes alone. Between two points lie at most a few tens of
        ms at full size.
        """
        threads = self._threads if shared else None
        sources = [None] * len(z) if source is None else source[:, 0]
        with torch.inference_mode():
            return torch.stack([self._decode_item(*item, threads) for item in zip(z, g, sources, strict=True)])

    def _decode_item(self, z: Tensor, g: Tensor, source: Tensor | None, threads: WorkThreads | None) -> Tensor:
        """`z` `[C, T]`, `g` `[G, 1]`, `source` `[T * S]` -> `[T * S]`."""
        scratches = [Scratch() for _ in range(1 if threads is None else threads.num_threads)]
        tiles = _Tiles(_Speaker(self._pre, self._cond(g)), _Whole(z.t()))
        for stage in self._stages:
            tiles = _Tiles(_StageOfSignal(stage, source, scratches, threads), tiles)
        return _Tiles(self._post, tiles).all_rows()


def _stage_modules(decoder: Decoder) -> list[tuple[nn.Module, nn.Module | None, nn.Module]]:
    """Per stage: transposed convolution, source convolution (None without f0), residual blocks."""
    if isinstance(decoder, MrfHifiGan):
        return list(zip(decoder.upsamples, decoder.noise_convs, decoder.mrfs, strict=True))
    noise_convs = decoder.noise_convs if hasattr(decoder, "noise_convs") else [None] * len(decoder.ups)
    n = decoder.num_kernels
    stages = enumerate(zip(decoder.ups, noise_convs, strict=True))
    return [(up, noise, decoder.resblocks[i * n : (i + 1) * n]) for i, (up, noise) in stages]

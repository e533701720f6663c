"""The CPU decoder on several cores: the time axis is cut into parts, one per thread; of short windows each is a part.

A tile's matrix products are too small to be shared out among threads (two gained nothing, measured), but parts of the
time axis are independent but for their edges: a part is decoded with the decoder's receptive field on both sides, and
that is dropped afterwards.

Shape letters: B batch, C channels, T frames of 10 ms, S output samples per frame, G speaker embedding channels.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from anivoice.models.cpu_decoder import CpuDecoder

MIN_PART_HALOS = 4
"""A part must be this many times longer than what is computed beyond its edges."""


@dataclass(frozen=True)
class Part:
    """Frames `[start, stop)` are wanted, `[first, last)` are decoded for them."""

    start: int
    stop: int
    first: int
    last: int


def plan_parts(num_frames: int, num_parts: int, halo_frames: int) -> list[Part]:
    """At most `num_parts` parts of about the same length that cover all frames, fewer if they would be short."""
    num_parts = max(1, min(num_parts, num_frames // (MIN_PART_HALOS * halo_frames)))
    bounds = [num_frames * i // num_parts for i in range(num_parts + 1)]
    return [
        Part(start, stop, max(start - halo_frames, 0), min(stop + halo_frames, num_frames))
        for start, stop in pairwise(bounds)
    ]


class DecoderThreads(ThreadPoolExecutor):
    """Threads that compute side by side, each by itself."""

    def __init__(self, num_threads: int) -> None:
        super().__init__(num_threads, thread_name_prefix="anivoice-decoder", initializer=_prepare_thread)
        self.num_threads = num_threads


def _prepare_thread() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class ParallelDecoder:
    """`CpuDecoder` with a part on each of the `threads`. `halo_frames`: the decoder's one-sided receptive field."""

    def __init__(self, decoder: CpuDecoder, halo_frames: int, threads: DecoderThreads) -> None:
        self.decoder = decoder
        self.halo_frames = halo_frames
        self.threads = threads

    @property
    def num_bytes(self) -> int:
        """Memory of the decoder's weights."""
        return self.decoder.num_bytes

    def decode_tiles(self, z: Tensor, g: Tensor, source: Tensor | None) -> Iterator[Tensor]:
        """As `CpuDecoder.decode_tiles`: consecutive pieces `[B, n]`, some empty; other work may come in between."""
        parts = plan_parts(z.shape[2], self.threads.num_threads, self.halo_frames)
        if len(parts) == 1:
            yield from self._rows(z, g, source)
            return
        tiles = [self._tiles(part, z, g, source) for part in parts]
        pieces: list[list[Tensor]] = [[] for _ in parts]
        running = list(range(len(parts)))
        while running:
            results = list(self.threads.map(lambda i: next(tiles[i], None), running))
            for i, piece in zip(running, results, strict=True):
                if piece is not None:
                    pieces[i].append(piece)
            running = [i for i, piece in zip(running, results, strict=True) if piece is not None]
            yield z.new_empty(z.shape[0], 0)
        for part, waveforms in zip(parts, pieces, strict=True):
            yield self._wanted(part, torch.cat(waveforms, dim=1))

    def _rows(self, z: Tensor, g: Tensor, source: Tensor | None) -> Iterator[Tensor]:
        """Short windows are not cut; several of them are decoded side by side."""
        rows = [
            self.decoder.decode_tiles(z[i : i + 1], g[i : i + 1], None if source is None else source[i : i + 1])
            for i in range(z.shape[0])
        ]
        while True:
            pieces = list((map if len(rows) == 1 else self.threads.map)(lambda row: next(row, None), rows))
            tensors = [piece for piece in pieces if piece is not None]
            if not tensors:
                return
            yield torch.cat(tensors)

    def _tiles(self, part: Part, z: Tensor, g: Tensor, source: Tensor | None) -> Iterator[Tensor]:
        S = self.decoder.frame_samples
        part_source = None if source is None else source[:, :, part.first * S : part.last * S]
        return self.decoder.decode_tiles(z[:, :, part.first : part.last], g, part_source)

    def _wanted(self, part: Part, waveform: Tensor) -> Tensor:
        S = self.decoder.frame_samples
        return waveform[:, (part.start - part.first) * S : (part.stop - part.first) * S]

"""Joining successive windows that overlap: SOLA, then a crossfade (SPEC 11.5).

made by the network:  |<- crossfade ->|<- search ->|<-------- rest ------->|      block + crossfade + search samples
given out:            from the best offset within the search range on, `block` samples; its first `crossfade`
                      samples are mixed with the tail that the window before left
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class OverlapAdd:
    """One stream's seams. The first block fades in from silence.

    `neutral_offset` is where a block begins while there is nothing to match: the reference has 0, the middle of the
    search range leaves room on both sides. `pull` (0 in the reference) is how much better, in correlation -1..1, an
    offset at the far end of the range must match than the neutral one: it keeps periodic sounds, which match at several
    offsets, from jumping to and fro.
    """

    def __init__(
        self,
        block_samples: int,
        crossfade_samples: int,
        search_samples: int,
        neutral_offset: int = 0,
        pull: float = 0.0,
    ) -> None:
        self.block_samples = block_samples
        self.crossfade_samples = crossfade_samples
        self.search_samples = search_samples
        self.neutral_offset = neutral_offset
        self.watch: Callable[[Samples, Samples], None] | None = None
        """Called with the tail and what it is mixed with: the measure of a seam."""
        distance = np.abs(np.arange(search_samples + 1) - neutral_offset)
        self.penalty = pull * distance / max(search_samples, 1)
        ramp = np.linspace(0.0, 1.0, crossfade_samples, dtype=np.float32)
        self.fade_in = np.sin(np.float32(0.5 * np.pi) * ramp) ** 2
        self.fade_out = 1 - self.fade_in
        self.reset()

    def reset(self) -> None:
        """Forget the last window: the next block fades in."""
        self.tail = np.zeros(self.crossfade_samples, np.float32)

    @property
    def window_samples(self) -> int:
        """How long a window must be."""
        return self.block_samples + self.crossfade_samples + self.search_samples

    def feed(self, window: Samples) -> tuple[Samples, int]:
        """A window of at least `window_samples` -> the next block, `[block_samples]`, and the offset chosen."""
        offset = self.best_offset(window)
        aligned = window[offset:].astype(np.float32)
        n = self.crossfade_samples
        if self.watch is not None:
            self.watch(self.tail, aligned[:n].copy())
        aligned[:n] = aligned[:n] * self.fade_in + self.tail * self.fade_out
        self.tail = aligned[self.block_samples : self.block_samples + n].copy()
        return aligned[: self.block_samples], offset

    def best_offset(self, window: Samples) -> int:
        """Where the window resembles the tail most: the first maximum of the normalised correlation."""
        if not self.tail.any():
            return self.neutral_offset
        head = window[: self.crossfade_samples + self.search_samples].astype(np.float64)
        tail = self.tail.astype(np.float64)
        correlation = np.correlate(head, tail, "valid")
        sums = np.cumsum(np.concatenate([np.zeros(1), np.square(head)]))
        energy = sums[len(tail) :] - sums[: len(head) - len(tail) + 1]
        match = correlation / np.sqrt(energy + 1e-8)
        return int(np.argmax(match - self.penalty * np.linalg.norm(tail)))

"""Joining successive windows that overlap: SOLA, then a crossfade (SPEC 11.5).

made by the network:  |<- crossfade ->|<- search ->|<-------- rest ------->|      block + crossfade + search samples
given out:            from the best offset within the search range on, `block` samples; its first `crossfade`
                      samples are mixed with the tail that the window before left
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SILENT_ENERGY = 1e-8
AGREEMENT = 0.995
"""Windows of one stream overlap in the same sound: they differ by a twentieth of their level (0.999) to a tenth."""

MAX_DIRECT_OFFSETS = 200
"""Where a product for each offset takes about as long as three transforms."""

FFT_GRID = 256
"""Lengths with large prime factors take long."""


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
        self.pull = pull
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
        self._offset = self.neutral_offset

    @property
    def window_samples(self) -> int:
        """How long a window must be."""
        return self.block_samples + self.crossfade_samples + self.search_samples

    def feed(self, window: Samples) -> tuple[Samples, int]:
        """A window of at least `window_samples` -> the next block, `[block_samples]`, and the offset chosen."""
        offset = self._offset = self.best_offset(window)
        n, size = self.crossfade_samples, self.block_samples
        aligned = window[offset : offset + size + n].astype(np.float32)
        head = aligned[:n]
        if self.watch is not None:
            self.watch(self.tail, head.copy())
        head *= self.fade_in
        self.tail *= self.fade_out
        head += self.tail
        self.tail = aligned[size:].copy()
        return aligned[:size], offset

    def best_offset(self, window: Samples) -> int:
        """Where the window resembles the tail most: the first maximum of the normalised correlation.

        With a pull, windows that agree where they stand stay there, and nothing is searched.
        """
        tail, level = self.tail, math.sqrt(self.tail @ self.tail)
        if level == 0:
            return self.neutral_offset
        if self.pull > 0 and self._likeness(window, self._offset, level) > AGREEMENT:
            return self._offset
        head = window[: self.crossfade_samples + self.search_samples].astype(np.float64)
        match = _correlate(head, tail.astype(np.float64)) / np.sqrt(_energies(head, len(tail)) + SILENT_ENERGY)
        return int(np.argmax(match - self.penalty * level))

    def _likeness(self, window: Samples, offset: int, level: float) -> float:
        """-1..1; 0 where the window is silent."""
        part = window[offset : offset + self.crossfade_samples]
        return float(part @ self.tail) / (level * math.sqrt(float(part @ part) + SILENT_ENERGY))


def _correlate(head: NDArray[np.float64], tail: NDArray[np.float64]) -> NDArray[np.float64]:
    """The products of `tail` with all stretches of `head`: one by one if they are few, else by way of their spectra."""
    num_offsets = len(head) - len(tail) + 1
    if num_offsets <= MAX_DIRECT_OFFSETS:
        return np.asarray(np.correlate(head, tail, "valid"))
    size = -(-len(head) // FFT_GRID) * FFT_GRID
    spectrum = np.fft.rfft(head, size) * np.fft.rfft(tail, size).conj()
    return np.asarray(np.fft.irfft(spectrum, size)[:num_offsets])


def _energies(head: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Of all stretches of `size` samples."""
    squares = head * head
    change = np.cumsum(squares[size:] - squares[: len(head) - size])
    return np.asarray(np.maximum(squares[:size].sum() + np.concatenate([np.zeros(1), change]), 0))

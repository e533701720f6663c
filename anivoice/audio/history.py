"""The recent past of a signal, read by absolute position."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SPARE_SHARE = 0.25
"""Room beyond what is kept: less of it costs less memory and more copying."""


class History:
    """Grows at the end, forgets at the front. Positions count from the first sample ever; before it there is silence.

    What is kept lies in one piece and is never moved within its memory: when that is full, all goes to a new one. So
    what was read stays what it was.
    """

    def __init__(self) -> None:
        self._data = np.zeros(0, np.float32)
        self._begin = 0
        self._start = 0
        self.stop = 0
        """Position behind the last sample."""

    def append(self, samples: Samples) -> None:
        """Continue the signal."""
        at = self._begin + self.stop - self._start
        end = at + len(samples)
        if end > len(self._data):
            kept = self._data[self._begin : at]
            self._data = np.empty(int((1 + SPARE_SHARE) * (len(kept) + len(samples))), np.float32)
            self._data[: len(kept)] = kept
            self._begin, at = 0, len(kept)
            end = at + len(samples)
        self._data[at:end] = samples
        self.stop += len(samples)

    def read(self, start: int, stop: int) -> Samples:
        """The samples `start` to `stop`; do not write to them. Raises ValueError for what is forgotten or to come."""
        if stop > self.stop or max(start, 0) < self._start:
            raise ValueError(f"samples {start}..{stop} are not within {self._start}..{self.stop}")
        first, offset = max(start, 0), self._begin - self._start
        there = self._data[offset + first : offset + max(stop, first)]
        if start >= 0:
            return there
        return np.concatenate([np.zeros(min(stop, 0) - start, np.float32), there])

    def forget_before(self, position: int) -> None:
        """What comes before `position` is not needed any more."""
        position = min(max(position, self._start), self.stop)
        self._begin += position - self._start
        self._start = position

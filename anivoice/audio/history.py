"""The recent past of a signal, read by absolute position."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class History:
    """Grows at the end, forgets at the front. Positions count from the first sample ever; before it there is silence.

    Appending costs, on average, one copy of what is appended: the kept part is moved to the front only when the memory
    is full, which has room for as much again.
    """

    def __init__(self) -> None:
        self._data = np.zeros(1024, np.float32)
        self._begin = 0
        self._start = 0
        self.stop = 0
        """Position behind the last sample."""

    def append(self, samples: Samples) -> None:
        """Continue the signal."""
        kept = self.stop - self._start
        end = self._begin + kept + len(samples)
        if end > len(self._data):
            room = self._data if kept + len(samples) <= len(self._data) // 2 else np.zeros(2 * end, np.float32)
            room[:kept] = self._data[self._begin : self._begin + kept].copy()
            self._data, self._begin = room, 0
        at = self._begin + kept
        self._data[at : at + len(samples)] = samples
        self.stop += len(samples)

    def read(self, start: int, stop: int) -> Samples:
        """A copy of the samples `start` to `stop`. Raises ValueError for what is forgotten or has not come."""
        if stop > self.stop or max(start, 0) < self._start:
            raise ValueError(f"samples {start}..{stop} are not within {self._start}..{self.stop}")
        out = np.zeros(stop - start, np.float32)
        if stop > 0:
            first = max(start, 0)
            at = self._begin + first - self._start
            out[first - start :] = self._data[at : at + stop - first]
        return out

    def forget_before(self, position: int) -> None:
        """What comes before `position` is not needed any more."""
        position = min(max(position, self._start), self.stop)
        self._begin += position - self._start
        self._start = position

"""The recent past of a signal, read by absolute position."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SPARE_SHARE = 0.25
"""Room beyond what is kept: less of it costs less memory and more copying."""


class History:
    """Grows at the end, forgets at the front. Positions count from the first sample ever; before it there is silence.

    What is kept lies in one piece; when its memory is full, it moves to the front, or to a larger one.
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
            size = len(kept) + len(samples)
            if (1 + SPARE_SHARE / 2) * size > len(self._data):
                self._data = np.empty(int((1 + SPARE_SHARE) * size), np.float32)
            self._data[: len(kept)] = kept
            self._begin, at, end = 0, len(kept), size
        self._data[at:end] = samples
        self.stop += len(samples)

    def read(self, start: int, stop: int, num_silent: int = 0) -> Samples:
        """A copy of the samples `start` to `stop`, of which the last `num_silent` are silence.

        Raises ValueError for what is forgotten or has not come.
        """
        out = np.empty(stop - start, np.float32)
        stop -= num_silent
        if stop > self.stop or max(start, 0) < self._start:
            raise ValueError(f"samples {start}..{stop} are not within {self._start}..{self.stop}")
        first, last = min(max(start, 0), stop), max(stop, 0)
        offset = self._begin - self._start
        out[: first - start] = 0
        out[first - start : stop - start] = self._data[offset + first : offset + last]
        out[stop - start :] = 0
        return out

    def forget_before(self, position: int) -> None:
        """What comes before `position` is not needed any more."""
        position = min(max(position, self._start), self.stop)
        self._begin += position - self._start
        self._start = position

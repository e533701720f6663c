"""The recent past of a signal, read by absolute position."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SPARE_SHARE = 0.25
"""Room beyond what is kept: less of it costs less memory and more moving."""


class History:
    """Grows at the end, forgets at the front. Positions count from the first sample ever; before it there is silence.

    What is kept lies in one piece. When its memory is full it moves to the front, or, while somebody still looks at
    what was read (`is_lent`), to other memory. So reading copies nothing.
    """

    def __init__(self) -> None:
        self.is_lent = False
        self.stop = 0
        """Position behind the last sample."""
        self._data = np.zeros(0, np.float32)
        self._begin = 0
        self._start = 0

    def append(self, samples: Samples) -> None:
        """Continue the signal."""
        at = self._begin + self.stop - self._start
        end = at + len(samples)
        if end > len(self._data):
            kept = self._data[self._begin : at]
            at, end = len(kept), len(kept) + len(samples)
            if self.is_lent or (1 + SPARE_SHARE / 2) * end > len(self._data):
                self._data = np.empty(int((1 + SPARE_SHARE) * end), np.float32)
            self._data[:at] = kept
            self._begin = 0
        self._data[at:end] = samples
        self.stop += len(samples)

    def read(self, start: int, stop: int) -> Samples:
        """The samples `start` to `stop`: do not write to them, and set `is_lent` if they are looked at for longer.

        Raises ValueError for what is forgotten or has not come.
        """
        if stop > self.stop or max(start, 0) < self._start:
            raise ValueError(f"samples {start}..{stop} are not within {self._start}..{self.stop}")
        offset = self._begin - self._start
        if start >= 0:
            return self._data[offset + start : offset + stop]
        out = np.zeros(stop - start, np.float32)
        if stop > 0:
            out[-stop:] = self._data[offset : offset + stop]
        return out

    def forget_before(self, position: int) -> None:
        """What comes before `position` is not needed any more."""
        position = min(max(position, self._start), self.stop)
        self._begin += position - self._start
        self._start = position

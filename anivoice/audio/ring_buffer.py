"""The latest samples of a stream, addressed by their position since its start."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class RingBuffer:
    """Keeps the last `capacity_samples` samples; before position 0 lies silence, as far back as the capacity."""

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise ValueError(f"a ring buffer holds at least one sample, not {capacity_samples}")
        self.capacity_samples = capacity_samples
        self._held = np.zeros(capacity_samples, np.float32)
        self._end = 0

    @property
    def start(self) -> int:
        """Position of the oldest sample that can be read (negative at the beginning of a stream)."""
        return self._end - self.capacity_samples

    @property
    def end(self) -> int:
        """Number of samples appended so far; the position after the latest."""
        return self._end

    def reset(self) -> None:
        """Silence everywhere, the next sample is at position 0 again."""
        self._held[:] = 0
        self._end = 0

    def append(self, samples: Samples) -> None:
        """Adds `[n]` samples; the oldest give way."""
        kept = samples[-self.capacity_samples :]
        at = (self._end + len(samples) - len(kept)) % self.capacity_samples
        until_wrap = min(len(kept), self.capacity_samples - at)
        self._held[at : at + until_wrap] = kept[:until_wrap]
        self._held[: len(kept) - until_wrap] = kept[until_wrap:]
        self._end += len(samples)

    def read(self, start: int, stop: int) -> Samples:
        """A copy of the samples `start` to `stop`. Raises ValueError for what is gone or not there yet."""
        if not self.start <= start <= stop <= self._end:
            raise ValueError(f"samples {start} to {stop} are not held; {self.start} to {self._end} are")
        at, length = start % self.capacity_samples, stop - start
        first = self._held[at : at + length]
        return np.concatenate([first, self._held[: length - len(first)]])

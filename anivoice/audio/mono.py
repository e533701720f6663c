"""Several channels to one."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class MonoMixer:
    """The mean of the channels that are in use: of a recording with only its right channel plugged in the right one,
    as loud as it is. A channel is in use from its first sample that is not 0. Any split gives the same samples.
    """

    def __init__(self, num_channels: int) -> None:
        self.num_channels = num_channels
        self._is_used = np.zeros(num_channels, bool)

    def mix(self, samples: Samples) -> Samples:
        """Interleaved `[n * num_channels]` -> `[n]`"""
        if self.num_channels == 1:
            return samples
        frames = samples.reshape(-1, self.num_channels)
        if self._is_used.all() or not len(frames):
            return np.asarray(frames.mean(axis=1, dtype=np.float32))
        is_used = np.logical_or.accumulate(frames != 0, axis=0) | self._is_used
        self._is_used = is_used[-1]
        return np.asarray(frames.sum(axis=1, dtype=np.float32) / np.maximum(is_used.sum(axis=1), 1).astype(np.float32))

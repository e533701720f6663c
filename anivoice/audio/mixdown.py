"""Several channels to one: their mean, of those that carry sound, as long as they do not cancel each other."""

import numpy as np
from numpy.typing import NDArray

SILENT_RATIO = 1e-5
"""A channel whose energy is 50 dB below the loudest one's is not connected: it must not make the others softer."""

CANCELLED_RATIO = 0.1
"""A mean 10 dB below that of unrelated channels: they are each other's opposite, as behind a wrongly wired cable."""


class ChannelLevels:
    """Energy of each channel and of their mean, over all blocks that were fed."""

    def __init__(self, num_channels: int) -> None:
        self._energies = np.zeros(num_channels)
        self._mean_energy = 0.0

    def feed(self, block: NDArray[np.float32], mean: NDArray[np.float32]) -> None:
        """`[frames, channels]` and its mean `[frames]`."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._energies += np.einsum("fc,fc->c", block, block, dtype=np.float64)
            self._mean_energy += float(np.einsum("f,f->", mean, mean, dtype=np.float64))

    @property
    def cancels(self) -> bool:
        """Whether the channels' mean is far softer than they are."""
        unrelated = self._energies.sum() / len(self._energies) ** 2
        return len(self._energies) > 1 and self._mean_energy < CANCELLED_RATIO * unrelated

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """What to take of each channel, `[channels]`; None: the plain mean of all is right."""
        loudest = int(self._energies.argmax())
        chosen = self._energies > SILENT_RATIO * self._energies[loudest]
        if self.cancels:
            chosen = np.arange(len(self._energies)) == loudest
        if not chosen.any() or chosen.all():
            return None
        return np.asarray(chosen / chosen.sum(), np.float32)

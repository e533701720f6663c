"""How loud it is."""

import math

import numpy as np

from anivoice.client.microphone.devices import Samples

SILENCE_DB = -99.0


class PeakLevel:
    """The largest sample since it was last asked. One thread adds, another asks."""

    def __init__(self) -> None:
        self._peak = 0.0

    def add(self, samples: Samples) -> None:
        if len(samples):
            self._peak = max(self._peak, float(np.abs(samples).max()))

    def take_db(self) -> float:
        """In dB of full scale, at least SILENCE_DB; begins anew."""
        peak, self._peak = self._peak, 0.0
        return max(20 * math.log10(peak), SILENCE_DB) if peak > 0 else SILENCE_DB

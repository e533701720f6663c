"""How loud a live stream is, for those who watch it from outside."""

import math

import numpy as np
from numpy.typing import NDArray

SILENCE_DB = -120.0


class Meter:
    """Peaks of what a stream hears and gives. Measures only while `is_watched`: it costs time in every message."""

    def __init__(self) -> None:
        self.is_watched = False
        self._peaks = [0.0, 0.0]

    def hear(self, samples: NDArray[np.float32]) -> None:
        """What came: `[L]`, full scale is 1."""
        self._note(0, samples)

    def give(self, samples: NDArray[np.float32]) -> None:
        """What goes out: `[L]`, full scale is 1."""
        self._note(1, samples)

    def take_db(self) -> tuple[float, float]:
        """The peaks of input and output since the last call, in dB of full scale, at least SILENCE_DB."""
        input_peak, output_peak = self._peaks
        self._peaks = [0.0, 0.0]
        return decibels(input_peak), decibels(output_peak)

    def _note(self, place: int, samples: NDArray[np.float32]) -> None:
        if self.is_watched and len(samples):
            self._peaks[place] = max(self._peaks[place], float(samples.max()), -float(samples.min()))


def decibels(peak: float) -> float:
    """Of full scale, rounded to a tenth."""
    return round(max(20 * math.log10(peak), SILENCE_DB), 1) if peak > 0 else SILENCE_DB

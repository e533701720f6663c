"""How late the audio of a stream comes, and with that the delay that a buffer needs."""

from collections import deque

NUM_KEPT = 100
SHARE = 0.95
NUM_OF_A_SHIFT = 3


class Lateness:
    """The lateness of the last arrivals, in samples: time of the arrival less what had been received before it."""

    def __init__(self) -> None:
        self._values: deque[int] = deque(maxlen=NUM_KEPT)
        self.usual = 0
        """What 95 % of the arrivals keep, in samples. Rare stalls do not count: no buffer is made for them."""

    def add(self, lateness: int) -> None:
        """Several in a row above what was usual: the way has become longer for good."""
        self._values.append(lateness)
        last = list(self._values)[-NUM_OF_A_SHIFT:]
        if len(self._values) > NUM_OF_A_SHIFT and min(last) > self.usual:
            self._values = deque(last, maxlen=NUM_KEPT)
        ranked = sorted(self._values)
        self.usual = ranked[int(SHARE * (len(ranked) - 1))]

"""Whether an output stood still: a busy machine, a device that slept."""

import time
from collections.abc import Callable

LONGEST_BURST_S = 0.1
"""Outputs ask for several pieces at once and then for none; that is no pause."""
FOLLOWING = 0.01


class OutputClock:
    """Compares what an output has asked for with the time that went by. `now_s`: a clock in seconds."""

    def __init__(self, rate_hz: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._rate_hz = rate_hz
        self._now_s = now_s
        self._started_s: float | None = None
        self._num_asked = 0
        self._usual_s = 0.0

    def pause_before(self, num_samples: int) -> int:
        """An output asks for `num_samples`: how many it would have asked for before, had it not stood still.

        Its clock may be a little faster or slower than this one: the difference is followed.
        """
        now_s = self._now_s()
        if self._started_s is None:
            self._started_s = now_s
        behind_s = now_s - self._started_s - self._num_asked / self._rate_hz
        self._num_asked += num_samples
        excess_s = behind_s - self._usual_s
        if excess_s <= LONGEST_BURST_S:
            self._usual_s += FOLLOWING * excess_s
            return 0
        pause = round(excess_s * self._rate_hz)
        self._num_asked += pause
        return pause

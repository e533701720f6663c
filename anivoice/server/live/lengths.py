"""When a running stream gets longer blocks, and when shorter ones again. Pure bookkeeping."""

from collections import deque
from collections.abc import Callable

MISSED_WINDOW_SECONDS = 3.0
NUM_MISSED = 2
"""So many blocks that nobody hears within the window are no accident."""

MIN_QUIET_SECONDS = 6.0
"""For so long nothing may be late before shorter blocks are tried."""

MAX_QUIET_SECONDS = 300.0
"""A try costs the machine a few blocks: after each that fails the next comes twice as late, up to this."""

TRIAL_SECONDS = 30.0
"""Shorter blocks that are late within this time were a failure."""


class LengthPolicy:
    """Ask `next_move` about once a second, and say what became of it. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._num_missed = 0
        self._missed_s: deque[float] = deque(maxlen=NUM_MISSED)
        self._quiet_since_s = clock()
        self._min_quiet_s = MIN_QUIET_SECONDS
        self._shortened_s: float | None = None

    def next_move(self, num_missed: int, is_slow: bool) -> int:
        """1: longer blocks; -1: shorter ones; 0: as they are. `num_missed`: blocks that were late or left out so far;
        `is_slow`: that lately they took too long to compute, which a burst of audio does not make them.
        """
        now_s = self._clock()
        num_new, self._num_missed = num_missed - self._num_missed, num_missed
        self._missed_s.extend([now_s] * min(num_new, NUM_MISSED))
        if num_new:
            self._quiet_since_s = now_s
        if is_slow and len(self._missed_s) == NUM_MISSED and now_s - self._missed_s[0] <= MISSED_WINDOW_SECONDS:
            return 1
        return -1 if now_s - self._quiet_since_s >= self._min_quiet_s else 0

    def moved(self, move: int) -> None:
        """The blocks are longer or shorter now."""
        now_s = self._clock()
        self._missed_s.clear()
        self._quiet_since_s = now_s
        if move < 0:
            self._shortened_s = now_s
        elif self._shortened_s is not None and now_s - self._shortened_s <= TRIAL_SECONDS:
            self._wait_longer()

    def stayed(self, move: int) -> None:
        """There are no such blocks, or they would not be in time."""
        self._quiet_since_s = self._clock()
        if move < 0:
            self._wait_longer()

    def _wait_longer(self) -> None:
        self._min_quiet_s = min(2 * self._min_quiet_s, MAX_QUIET_SECONDS)

"""Lines of the log that strangers can cause: a few of them, then how many there were."""

import logging
from collections.abc import Callable

MAX_LINES = 10
PERIOD_S = 10.0


class LogLimit:
    """Passes `MAX_LINES` lines in `PERIOD_S`; the first one behind them says how many were left out."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._began_s = clock()
        self._num_lines = 0

    def info(self, text: str, *values: object) -> None:
        """As the logger's."""
        now_s = self._clock()
        if now_s - self._began_s >= PERIOD_S:
            if self._num_lines > MAX_LINES:
                self._logger.info("%d more of these were left out", self._num_lines - MAX_LINES)
            self._began_s, self._num_lines = now_s, 0
        self._num_lines += 1
        if self._num_lines <= MAX_LINES:
            self._logger.info(text, *values)

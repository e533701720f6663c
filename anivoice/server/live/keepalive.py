"""Whether the client of a WebSocket is still there. A connection can be dead without anybody having closed it."""

from collections.abc import Callable

DOUBT_SECONDS = 4.0


class Presence:
    """Ask `needs_ping` about once a second. `clock` in seconds."""

    def __init__(self, max_quiet_s: float, clock: Callable[[], float]) -> None:
        self._max_quiet_s = max_quiet_s
        self._clock = clock
        self._is_listening = False
        self._is_doubted = False
        self._heard_s = clock()

    def listen(self) -> None:
        """From now on it would be noticed if something came."""
        self._is_listening = True
        self._heard_s = self._clock()

    def hear(self) -> None:
        """Something came."""
        self._is_listening = False
        self._is_doubted = False

    def doubt(self) -> None:
        """There is reason to believe that it is gone."""
        if not self._is_doubted:
            self._is_doubted = True
            self._heard_s = self._clock()

    def needs_ping(self) -> bool:
        """Whether to ask for a sign of life. Raises TimeoutError when none came for too long."""
        if not self._is_listening:
            return False
        max_quiet_s = min(DOUBT_SECONDS, self._max_quiet_s) if self._is_doubted else self._max_quiet_s
        quiet_s = self._clock() - self._heard_s
        if quiet_s > max_quiet_s:
            raise TimeoutError(f"nothing was heard for {quiet_s:.0f} s")
        return self._is_doubted or quiet_s > max_quiet_s / 2

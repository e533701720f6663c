"""Uploads under way: each must go on, at a pace that gets somewhere, and who hardly moves gives way to who comes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anivoice.errors import RequestTimeout, Unavailable

MAX_SILENCE_S = 10.0
START_S = 10.0
MIN_BYTES_PER_S = 4096
"""An upload must be whole within START_S and the time that its bytes take at this pace."""


class Arrival:
    """One upload. `count` is told of what comes."""

    def __init__(self, peer: str, now_s: float, max_silence_s: float) -> None:
        self.peer = peer
        self.max_silence_s = max_silence_s
        self.began_s = now_s
        self.num_bytes = 0
        self.is_displaced = False
        self._silent_since_s = now_s
        self._end: asyncio.Timeout | None = None

    def count(self, num_bytes: int) -> None:
        """Another piece has come."""
        self.num_bytes += num_bytes
        self._silent_since_s = asyncio.get_running_loop().time()
        self._set_end()

    def bytes_per_s(self, now_s: float) -> float:
        """So far."""
        return self.num_bytes / max(now_s - self.began_s, 1.0)

    def displace(self) -> None:
        """Ends it at once, for another one."""
        self.is_displaced = True
        if self._end is not None:
            self._end.reschedule(asyncio.get_running_loop().time())

    def end_with(self, end: asyncio.Timeout) -> None:
        """`end` goes off when it is too slow."""
        self._end = end
        self._set_end()

    def _set_end(self) -> None:
        if self._end is not None and not self.is_displaced:
            paced_s = self.began_s + START_S + self.num_bytes / MIN_BYTES_PER_S
            self._end.reschedule(min(paced_s, self._silent_since_s + self.max_silence_s))


class Arrivals:
    """All uploads under way: so many of each peer, so many in all. Belongs to the event loop."""

    def __init__(self, max_arrivals: int, max_per_peer: int, max_silence_s: float = MAX_SILENCE_S) -> None:
        self._max_arrivals = max_arrivals
        self._max_per_peer = max_per_peer
        self._max_silence_s = min(max_silence_s, MAX_SILENCE_S)
        self._arrivals: set[Arrival] = set()

    def __len__(self) -> int:
        return len(self._arrivals)

    @asynccontextmanager
    async def admit(self, peer: str) -> AsyncIterator[Arrival]:
        """What is done in it is an upload of `peer`. Where there are too many, the one with the least pace ends.

        Raises RequestTimeout when it is too slow, and Unavailable when it gave way.
        """
        self._make_room(lambda one: one.peer == peer, self._max_per_peer)
        self._make_room(lambda one: True, self._max_arrivals)
        arrival = Arrival(peer, asyncio.get_running_loop().time(), self._max_silence_s)
        self._arrivals.add(arrival)
        try:
            async with asyncio.timeout(None) as end:
                arrival.end_with(end)
                yield arrival
        except TimeoutError as error:
            raise _too_slow(arrival) from error
        finally:
            self._arrivals.discard(arrival)

    def _make_room(self, counts: Callable[[Arrival], bool], limit: int) -> None:
        now_s = asyncio.get_running_loop().time()
        others = [one for one in self._arrivals if counts(one)]
        if len(others) >= limit:
            slowest = min(others, key=lambda one: (one.bytes_per_s(now_s), one.began_s))
            self._arrivals.discard(slowest)
            slowest.displace()


def _too_slow(arrival: Arrival) -> RequestTimeout | Unavailable:
    if arrival.is_displaced:
        return Unavailable("the upload gave way: too many come at once, and it was the slowest; try again later", 10.0)
    return RequestTimeout(
        f"the upload stood still for {arrival.max_silence_s:g} s, or came slower than {MIN_BYTES_PER_S} bytes "
        "a second; send it again, as FLAC or in parts where the network is slow"
    )

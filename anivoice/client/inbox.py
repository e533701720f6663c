"""What came in and was not yet taken: bounded by bytes, so that a slow taker slows the sender and not the memory."""

import asyncio
from collections import deque

from anivoice.errors import AnivoiceError


class Inbox:
    """Audio and errors in the order in which they came. One putter and any number of takers, all on one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._items: deque[bytes | AnivoiceError] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_closed = False
        self._end: AnivoiceError | None = None

    @property
    def is_full(self) -> bool:
        return self.num_bytes >= self.max_bytes

    async def put(self, item: bytes | AnivoiceError) -> None:
        """Waits while the inbox is full; what is put after `close` is dropped."""
        while self.is_full and not self._is_closed:
            await self._wait()
        if not self._is_closed:
            self._items.append(item)
            self.num_bytes += len(item) if isinstance(item, bytes) else 0
            self._tell()

    async def get(self) -> bytes:
        """The next audio; b"" after the last. Raises the errors that were put, and in the end the one of `close`."""
        while not self._items and not self._is_closed:
            await self._wait()
        if not self._items:
            if self._end is not None:
                raise self._end
            return b""
        item = self._items.popleft()
        if isinstance(item, AnivoiceError):
            raise item
        self.num_bytes -= len(item)
        self._tell()
        return item

    async def close(self, end: AnivoiceError | None) -> None:
        """Nothing comes any more. What is inside can still be taken."""
        if not self._is_closed:
            self._is_closed, self._end = True, end
            self._tell()

    async def _wait(self) -> None:
        """Until something has changed; it may be for somebody else."""
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await changed
        finally:
            self._waiting.discard(changed)

    def _tell(self) -> None:
        for changed in self._waiting:
            if not changed.done():
                changed.set_result(None)

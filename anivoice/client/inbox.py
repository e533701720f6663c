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
        self._changed = asyncio.Condition()
        self._is_closed = False
        self._end: AnivoiceError | None = None

    @property
    def is_full(self) -> bool:
        return self.num_bytes >= self.max_bytes

    async def put(self, item: bytes | AnivoiceError) -> None:
        """Waits while the inbox is full; what is put after `close` is dropped."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.is_full or self._is_closed)
            if not self._is_closed:
                self._items.append(item)
                self.num_bytes += len(item) if isinstance(item, bytes) else 0
                self._changed.notify_all()

    async def get(self) -> bytes:
        """The next audio; b"" after the last. Raises the errors that were put, and in the end the one of `close`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._items or self._is_closed)
            if not self._items:
                if self._end is not None:
                    raise self._end
                return b""
            item = self._items.popleft()
            self.num_bytes -= len(item) if isinstance(item, bytes) else 0
            self._changed.notify_all()
        if isinstance(item, AnivoiceError):
            raise item
        return item

    async def close(self, end: AnivoiceError | None) -> None:
        """Nothing comes any more. What is inside can still be taken."""
        async with self._changed:
            if not self._is_closed:
                self._is_closed, self._end = True, end
                self._changed.notify_all()

"""What goes to the client of a live stream: audio, and as text errors and events. Bounded: a client that does not read
holds its own stream up, and after a while loses the connection.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping

from aiohttp import web

from anivoice.errors import AnivoiceError

Event = Mapping[str, object]

MAX_BUFFERED_BYTES = 2**15
"""A transport that has more to send is full."""

FREE_BYTES = MAX_BUFFERED_BYTES // 4
"""With so much or less it is free again."""

MAX_HEADER_BYTES = 10


class LiveSender:
    """Every method raises ConnectionError when the connection is lost. Ask `check` about once a second."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.WriteTransport,
        max_stall_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.wants_events = False
        self._socket = socket
        self._transport = transport
        self._max_stall_s = max_stall_s
        self._clock = clock
        self._num_sending = 0
        self._moved_s = 0.0

    @property
    def is_sending(self) -> bool:
        """Whether something waits for the client to take it."""
        return self._num_sending > 0

    def check(self) -> None:
        """Raises TimeoutError when nothing has gone out for `max_stall_s` although something waits to."""
        if self._num_sending and self._clock() - self._moved_s > self._max_stall_s:
            raise TimeoutError(f"the client has taken nothing for {self._max_stall_s:g} s")

    def send_at_once(self, messages: list[bytes]) -> bool:
        """Sends audio without waiting; False if that is not possible now."""
        num_bytes = self._transport.get_write_buffer_size()
        is_free = num_bytes <= FREE_BYTES and not self._num_sending
        num_bytes += sum(map(len, messages)) + MAX_HEADER_BYTES * len(messages)
        if not is_free or num_bytes > MAX_BUFFERED_BYTES:
            return False
        for message in messages:
            _run_through(self._socket.send_bytes(message))
        return True

    async def send_audio(self, messages: list[bytes]) -> None:
        for message in messages:
            await self._send(self._socket.send_bytes(message))

    async def send_event(self, event: Event) -> None:
        """Only to those who asked for events."""
        if self.wants_events:
            await self.send_text(event)

    async def send_error(self, error: AnivoiceError) -> None:
        await self.send_text({"error": str(error)})

    async def ping(self) -> None:
        """Asks for a sign of life."""
        await self._send(self._socket.ping())

    async def answer_ping(self, content: bytes) -> None:
        await self._send(self._socket.pong(content))

    async def send_text(self, content: Event) -> None:
        await self._send(self._socket.send_str(json.dumps(content)))

    async def _send(self, sending: Coroutine[object, object, None]) -> None:
        if self._num_sending == 0:
            self._moved_s = self._clock()
        self._num_sending += 1
        try:
            await sending
        finally:
            self._num_sending -= 1
            self._moved_s = self._clock()


def _run_through(sending: Coroutine[object, object, None]) -> None:
    """To its end, without a task: it has nothing to wait for."""
    try:
        sending.send(None)
    except StopIteration:
        return
    raise RuntimeError("the transport is full although it was free")

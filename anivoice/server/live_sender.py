"""What goes to the client of a live stream: audio, and as text errors and events. Bounded: a client that does not read
holds its own stream up, and after a while loses the connection.
"""

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

from anivoice.errors import AnivoiceError

Event = Mapping[str, object]


class LiveSender:
    """Every method raises TimeoutError when nothing goes out for `max_stall_s`, ConnectionError when it is lost."""

    def __init__(self, socket: web.WebSocketResponse, max_stall_s: float) -> None:
        self.wants_events = False
        self._socket = socket
        self._max_stall_s = max_stall_s

    async def send_audio(self, messages: list[bytes]) -> None:
        for message in messages:
            async with asyncio.timeout(self._max_stall_s):
                await self._socket.send_bytes(message)

    async def send_event(self, event: Event) -> None:
        """Only to those who asked for events."""
        if self.wants_events:
            await self.send_text(event)

    async def send_error(self, error: AnivoiceError) -> None:
        await self.send_text({"error": str(error)})

    async def ping(self) -> None:
        """Asks for a sign of life."""
        async with asyncio.timeout(self._max_stall_s):
            await self._socket.ping()

    async def answer_ping(self, content: bytes) -> None:
        async with asyncio.timeout(self._max_stall_s):
            await self._socket.pong(content)

    async def send_text(self, content: Event) -> None:
        async with asyncio.timeout(self._max_stall_s):
            await self._socket.send_str(json.dumps(content))

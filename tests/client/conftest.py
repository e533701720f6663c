"""A small server that speaks the protocol of the WebSocket: it sends the audio back, a few samples later."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer


@dataclass
class EchoServer:
    """What the stand-in does, and what it saw. `delay_bytes`: what it holds back until it is told to flush."""

    delay_bytes: int = 400
    max_message_bytes: int = 1000
    refuse_session: tuple[int, str, dict[str, str]] | None = None
    refuse_start: tuple[str, int] | None = None
    is_quiet: bool = False
    created: list[dict[str, object]] = field(default_factory=list)
    texts: list[dict[str, object]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    transports: list[asyncio.Transport] = field(default_factory=list)
    held: bytearray = field(default_factory=bytearray)
    events: bool = False
    authorization: str | None = None
    url: str = ""
    is_gone: bool = False

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/convert/stream", self.create)
        app.router.add_get("/ws/{session_id}", self.open)
        return app

    async def create(self, request: web.Request) -> web.Response:
        self.authorization = request.headers.get("Authorization")
        if self.refuse_session is not None:
            status, sentence, headers = self.refuse_session
            return web.json_response({"error": sentence}, status=status, headers=headers)
        self.created.append(await request.json())
        return web.json_response({"session_id": "one", "websocket_url": "/ws/one", "expires_in": 300})

    async def open(self, request: web.Request) -> web.StreamResponse:
        if self.is_gone:
            return web.json_response({"error": "there is no session"}, status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        self.transports.append(request.transport)
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                self.held += message.data
                await self.give(socket, self.delay_bytes)
            elif message.type == WSMsgType.TEXT:
                await self.take_text(socket, json.loads(message.data))
        return socket

    async def give(self, socket: web.WebSocketResponse, keep_bytes: int) -> None:
        while not self.is_quiet and len(self.held) > keep_bytes:
            size = min(self.max_message_bytes, len(self.held) - keep_bytes)
            data = bytes(self.held[:size])
            del self.held[:size]
            await socket.send_bytes(data)

    async def take_text(self, socket: web.WebSocketResponse, values: dict[str, object]) -> None:
        self.texts.append(values)
        if len(self.texts) == 1:
            self.events = values.get("events") is True
            if self.refuse_start is not None:
                await socket.send_json({"error": self.refuse_start[0]})
                await socket.close(code=self.refuse_start[1])
            elif self.events:
                latency_ms = {"block": 80.0, "computing": 10.0, "total": 90.0}
                await socket.send_json({"event": "ready", "preset": "low", "latency_ms": latency_ms})
        elif "flush" in values:
            await self.give(socket, 0)
            if self.events and not self.is_quiet:
                await socket.send_json({"event": "flushed"})
        elif "ping" in values and self.events and not self.is_quiet:
            await socket.send_json({"event": "pong", "ping": values["ping"]})
        elif values.get("pitch_change") == 99:
            await socket.send_json({"error": "pitch_change: must be at most 36"})

    async def cut(self) -> None:
        """The connection breaks, without a farewell."""
        self.transports[-1].abort()
        await asyncio.sleep(0)


@pytest.fixture
async def echo(aiohttp_server: Callable[..., Awaitable[TestServer]]) -> EchoServer:
    """The server, listening at `echo.url`."""
    server = EchoServer()
    running = await aiohttp_server(server.app())
    server.url = str(running.make_url("/")).rstrip("/")
    return server

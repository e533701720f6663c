"""Connections: half-open heads, idle ones and malformed requests. The clock is the test's."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from anivoice.server.listener import MAX_HEAD_S, MAX_IDLE_S, MAX_UNREAD_S, HttpServer, max_connections
from anivoice.server.log_limit import MAX_LINES, PERIOD_S, LogLimit

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Listening:
    """A server that greets, with few connections; its time stands still."""

    def __init__(self, max_connections: int, max_per_peer: int) -> None:
        self.now_s = 100.0
        self.malformed: list[int] = []
        self.bounds = (max_connections, max_per_peer, self.malformed.append, lambda: self.now_s)
        self.open: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        async def greet(_: web.Request) -> web.Response:
            return web.Response(text="hello")

        async def much(_: web.Request) -> web.Response:
            return web.Response(body=bytes(2**24))

        app = web.Application()
        app.router.add_get("/", greet)
        app.router.add_get("/much", much)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        assert self.runner.server is not None
        self.server = HttpServer(self.runner.server, *self.bounds)
        listening = await asyncio.get_running_loop().create_server(self.server, "127.0.0.1", 0)
        self.listening, self.port = listening, listening.sockets[0].getsockname()[1]

    async def connect(self, sent: bytes = b"", from_ip: str = "127.0.0.1") -> Streams:
        streams = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(from_ip, 0))
        self.open.append(streams[1])
        if sent:
            streams[1].write(sent)
        return streams

    async def close(self) -> None:
        for writer in self.open:
            writer.close()
        self.listening.close()
        await self.server.shutdown(0.1)
        await self.runner.cleanup()


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Awaitable[Listening]]]:
    made: list[Listening] = []

    async def start(max_connections: int = 100, max_per_peer: int = 100) -> Listening:
        made.append(Listening(max_connections, max_per_peer))
        await made[-1].start()
        return made[-1]

    yield start
    for listening in made:
        await listening.close()


async def answer_of(streams: Streams) -> bytes:
    return await asyncio.wait_for(streams[0].readuntil(b"hello"), 30)


async def is_closed(streams: Streams) -> bool:
    try:
        return await asyncio.wait_for(streams[0].read(), 30) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"G", HEAD])
async def test_a_head_that_does_not_end_is_given_up(listen, sent, until):
    listening = await listen()
    streams = await listening.connect(sent)
    await until(lambda: listening.server.connections)
    listening.now_s += MAX_HEAD_S
    listening.server.sweep()
    assert len(listening.server.connections) == 1
    listening.now_s += 0.1
    listening.server.sweep()
    assert await is_closed(streams)


async def test_a_head_may_not_be_drawn_out_on_a_connection_that_was_used(listen, until):
    listening = await listen()
    streams = await listening.connect(HEAD + b"\r\n")
    await answer_of(streams)
    listening.now_s += MAX_IDLE_S - 1
    streams[1].write(b"G")
    (connection,) = listening.server.connections
    await until(lambda: connection.head_since_s is not None)
    listening.now_s += MAX_HEAD_S - 1
    listening.server.sweep()
    streams[1].write(b"ET")
    listening.now_s += 2
    listening.server.sweep()
    assert await is_closed(streams)


async def test_an_idle_connection_is_kept_for_a_while(listen):
    listening = await listen()
    streams = await listening.connect(HEAD + b"\r\n")
    await answer_of(streams)
    listening.now_s += MAX_IDLE_S
    listening.server.sweep()
    streams[1].write(HEAD + b"\r\n")
    await answer_of(streams)
    listening.now_s += MAX_IDLE_S + 0.1
    listening.server.sweep()
    assert await is_closed(streams)


@pytest.mark.parametrize("bounds", [{"max_connections": 5}, {"max_per_peer": 5}])
async def test_silent_ones_give_way(listen, bounds):
    listening = await listen(**bounds)
    silent = []
    for _ in range(20):
        silent.append(await listening.connect(HEAD))
        listening.now_s += 0.1
    honest = await listening.connect(HEAD + b"\r\n")
    await answer_of(honest)
    assert await is_closed(silent[0])
    assert len(listening.server.connections) <= 6


async def test_another_peer_does_not_pay_for_a_crowd(listen, until):
    listening = await listen(max_per_peer=3)
    other = await listening.connect(HEAD, from_ip="127.0.0.2")
    await until(lambda: len(listening.server.connections) == 1)
    for _ in range(10):
        await listening.connect(HEAD)
    other[1].write(b"\r\n")
    await answer_of(other)


async def test_a_client_that_reads_nothing_is_cut_off(listen, until):
    listening = await listen()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", listening.port))
        await loop.sock_sendall(client, HEAD.replace(b"/ ", b"/much ") + b"\r\n")
        await until(lambda: any(one.busy for one in listening.server.connections))
        (connection,) = listening.server.connections
        await until(lambda: connection.transport.get_write_buffer_size() > 0)
        for _ in range(3):
            listening.server.sweep()
            await asyncio.sleep(0.01)
        listening.now_s += MAX_UNREAD_S + 1
        listening.server.sweep()
        await until(lambda: not listening.server.connections)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET\r\n\r\n", 400),
        (HEAD + b"X\r\n\r\n", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_gets_json_and_one_line(listen, caplog, sent, status):
    caplog.set_level(logging.INFO)
    listening = await listen()
    reader, _ = await listening.connect(sent)
    head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    assert head.startswith((f"HTTP/1.0 {status}".encode(), f"HTTP/1.1 {status}".encode()))
    assert json.loads(body).keys() == {"error"}
    assert listening.malformed == [status]
    assert "Traceback" not in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_lines_that_strangers_cause_are_few(caplog):
    caplog.set_level(logging.INFO)
    now_s = 0.0
    limit = LogLimit(logging.getLogger("strangers"), lambda: now_s)
    for number in range(1000):
        limit.info("line %d", number)
    assert len(caplog.records) == MAX_LINES
    now_s += PERIOD_S
    limit.info("again")
    assert [record.message for record in caplog.records[MAX_LINES:]] == [
        f"{1000 - MAX_LINES} more of these were left out",
        "again",
    ]


def test_connections_leave_descriptors_for_the_work():
    assert max_connections(4, 32) >= 16

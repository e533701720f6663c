"""Those who only hold on: silent and trickling uploads, heads that never end, peers that vanish."""

import asyncio
import socket
import struct

import pytest
from attack.conftest import convert_honestly

pytestmark = pytest.mark.slow

HEAD = (
    b"POST /convert HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b'Content-Length: 1000000\r\n\r\n--x\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\n'
)
HALF = b"GET / HTTP/1.1\r\nHost: local"
VANISH = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection is reset when it is closed."""


async def connect(port: int, sent: bytes) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    return writer


async def trickle(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.5)


async def test_nobody_is_locked_out(server, beside_honest_clients):
    async with beside_honest_clients():
        writers = [await connect(server.port, HALF) for _ in range(300)]
        writers += [await connect(server.port, HEAD) for _ in range(36)]
        trickling = [await connect(server.port, HEAD) for _ in range(100)]
        tasks = [asyncio.create_task(trickle(writer)) for writer in trickling]
        for _ in range(3):
            assert await convert_honestly(server.url) == 200
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for writer in writers + trickling:
            writer.transport.abort()


async def test_peers_that_vanish_leave_nothing(server, beside_honest_clients):
    async with beside_honest_clients():
        for sent in (HALF, HEAD, HEAD + bytes(100000)) * 20:
            writer = await connect(server.port, sent)
            await writer.drain()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, VANISH)
            writer.transport.abort()

"""Sending audio without waiting, as long as the transport takes it."""

import asyncio
from typing import cast

import pytest
from aiohttp import web

from anivoice.server.live.sender import FREE_BYTES, MAX_BUFFERED_BYTES, LiveSender


class Wire:
    """A WebSocket and its transport in one."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.num_buffered = 0
        self.is_open = asyncio.Event()
        self.is_open.set()

    def get_write_buffer_size(self) -> int:
        return self.num_buffered

    async def send_bytes(self, data: bytes) -> None:
        await self.is_open.wait()
        self.sent.append(data)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def sender(wire: Wire) -> LiveSender:
    socket, transport = cast(web.WebSocketResponse, wire), cast(asyncio.WriteTransport, wire)
    return LiveSender(socket, transport, 1.0, lambda: 0.0)


async def test_what_there_is_room_for_goes_at_once(sender: LiveSender, wire: Wire) -> None:
    assert sender.send_at_once([])
    assert sender.send_at_once([b"a", b"b"])
    assert wire.sent == [b"a", b"b"]
    wire.num_buffered = FREE_BYTES
    assert sender.send_at_once([b"c"])


@pytest.mark.parametrize(("num_buffered", "num_bytes"), [(FREE_BYTES + 1, 1), (0, MAX_BUFFERED_BYTES)])
async def test_what_might_have_to_wait_is_left(sender: LiveSender, wire: Wire, num_buffered: int, num_bytes: int):
    wire.num_buffered = num_buffered
    assert not sender.send_at_once([bytes(num_bytes)])
    assert not wire.sent


async def test_nothing_overtakes_what_waits(sender: LiveSender, wire: Wire) -> None:
    wire.is_open.clear()
    sending = asyncio.create_task(sender.send_audio([b"first"]))
    await asyncio.sleep(0)
    assert not sender.send_at_once([b"second"])
    wire.is_open.set()
    await sending
    assert sender.send_at_once([b"second"])
    assert wire.sent == [b"first", b"second"]

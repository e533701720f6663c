"""An engine that is too slow for a while, in virtual time: how late blocks leave, what is dropped, what is kept."""

import asyncio
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMsgType
from live_sockets import RATE_HZ
from slow_stream import BLOCK_S, COST_S, LOUD, SLOW_COST_S, Stream
from virtual_time import run

from anivoice.server.live.queue import MAX_WAITING, SLACK_BLOCKS


async def overloaded(mode: str, normal_s: float, slow_s: float, after_s: float) -> Stream:
    """A stream of which the engine is `slow_s` seconds too slow, flushed at its end."""
    stream = Stream(mode)
    running = asyncio.create_task(stream.connection.run())
    await stream.speak(normal_s)
    stream.engine.cost_s = SLOW_COST_S
    await stream.speak(slow_s)
    stream.engine.cost_s = COST_S
    await stream.speak(after_s)
    stream.socket.put(WSMsgType.TEXT, '{"flush": true}')
    stream.socket.put(WSMsgType.CLOSE, 1000)
    await running
    return stream


@pytest.fixture(scope="module")
def live() -> Stream:
    return run(overloaded("live", 3.0, 6.0, 3.0))


@pytest.fixture(scope="module")
def reliable() -> Stream:
    return run(overloaded("reliable", 1.0, 2.0, 20.0))


def num_spoken(seconds: float) -> int:
    return round(seconds * RATE_HZ) * 2


def test_the_delay_stays_bounded(live: Stream) -> None:
    assert max(live.delays_s(3.1, 9.0)) <= (1 + SLACK_BLOCKS) * BLOCK_S + 1e-6
    assert live.max_waiting <= MAX_WAITING


def test_after_recovery_it_is_what_it_was(live: Stream) -> None:
    before, after = live.delays_s(0.2, 3.0), live.delays_s(9.6, 11.9)
    assert len(after) == pytest.approx(2.3 / BLOCK_S, abs=2)
    assert before == pytest.approx([COST_S] * len(before), abs=1e-6)
    assert after == pytest.approx([COST_S] * len(after), abs=1e-6)


def test_drops_are_counted_told_and_spliced(live: Stream) -> None:
    counts = live.live.counts
    assert 0.5 < counts.num_dropped * BLOCK_S / 6.0 < 0.8, "three times too slow: two of three"
    assert sum('"overrun"' in text for text in live.socket.texts) == 0, "nobody asked for events"
    num_left_out = round(counts.num_dropped * BLOCK_S * RATE_HZ) * 2
    assert len(live.socket.audio) == pytest.approx(num_spoken(12.0) - num_left_out, abs=2 * BLOCK_S * RATE_HZ)
    heard = np.abs(np.frombuffer(live.socket.audio, "<i2") / 32768)
    steady = heard[RATE_HZ // 4 : -RATE_HZ // 4]
    num_silent = (steady < 0.5 * LOUD).sum()
    assert num_silent <= (counts.num_late + 1) * BLOCK_S * RATE_HZ, "the ends meet: drops leave no gap"
    num_converted = 6.0 / SLOW_COST_S
    assert counts.num_late <= 0.55 * num_converted, "of what is converted at least half is heard"


def test_nobody_else_is_let_in_until_it_is_over() -> None:
    async def admit_while_slow() -> tuple[Any, Any]:
        stream = Stream("live")
        running = asyncio.create_task(stream.connection.run())
        admission, block_s = stream.engine.admission, stream.key.layout.block_s
        await stream.speak(1.0)
        stream.engine.cost_s = SLOW_COST_S
        await stream.speak(3.0)
        refusal = admission.admit(block_s, stream.key)
        stream.engine.cost_s = COST_S
        await stream.speak(4.0)
        later = admission.admit(block_s, stream.key)
        stream.socket.put(WSMsgType.CLOSE, 1000)
        await running
        return refusal, later

    refusal, later = run(admit_while_slow())
    assert refusal is not None
    assert refusal.retry_after_s, "it was fast enough for this kind before, and may be again"
    assert later is None


def test_reliable_loses_nothing(reliable: Stream) -> None:
    counts = reliable.live.counts
    assert (counts.num_dropped, counts.num_late, counts.num_failed) == (0, 0, 0)
    assert len(reliable.socket.audio) == num_spoken(23.0)
    heard = np.abs(np.frombuffer(reliable.socket.audio, "<i2") / 32768)
    assert heard[RATE_HZ // 4 : -RATE_HZ // 4].min() > 0.5 * LOUD


def test_reliable_catches_up(reliable: Stream) -> None:
    assert max(reliable.delays_s(0.0, 23.0)) > 1.0
    assert reliable.delays_s(20.0, 22.9) == pytest.approx([COST_S] * len(reliable.delays_s(20.0, 22.9)), abs=1e-6)


def test_reliable_reads_no_faster_than_it_converts() -> None:
    async def longest_backlog() -> float:
        stream = Stream("reliable")
        stream.engine.cost_s = SLOW_COST_S
        running = asyncio.create_task(stream.connection.run())
        backlogs = []
        for _ in range(40):
            await stream.speak(0.1)
            backlogs.append(stream.socket.num_read_bytes - len(stream.socket.audio))
        assert stream.socket._sent.qsize() > 100, "the rest stays with the client"
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        return max(backlogs) / 2 / RATE_HZ

    assert run(longest_backlog()) <= (MAX_WAITING + 4) * BLOCK_S

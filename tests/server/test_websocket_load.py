"""Too much, too late, failing: what a live stream does about it. The fake engine holds on as the test wants it."""

import asyncio
import threading

import numpy as np
import pytest
from aiohttp import WSMsgType
from live_sockets import RATE_HZ, flush, height, pcm, receive_until, tone

from anivoice.engine.batch import WindowRequest
from anivoice.errors import Unavailable
from anivoice.live.stream import Step
from anivoice.server.live.clock import Message
from anivoice.server.live.queue import MAX_WAITING, SLACK_BLOCKS, StepQueue
from anivoice.server.state import APP_STATE


@pytest.fixture
def held(fake):
    """`held.set()`: live blocks stay in the engine until `held.clear()`."""
    event = threading.Event()
    fake.runner.is_held = lambda request: isinstance(request, WindowRequest) and event.is_set()
    yield event
    event.clear()


def blocks_of(client, outcome: str) -> float:
    return client.app[APP_STATE].metrics.live_blocks[outcome]


async def test_live_drops_the_oldest_and_goes_on_as_before(serve_fake, fake, connect, held, until):
    """One block is computed, two wait, and of seven the four between them are dropped."""
    client = await serve_fake()
    socket = await connect(client, mode="live", block_ms=1000, events=True)
    await socket.send_json({})
    await receive_until(socket, "ready")
    second = pcm(tone(1.0))
    held.set()
    await socket.send_bytes(pcm(tone(1.1)))
    await until(lambda: fake.runner.num_held == 1)
    for _ in range(6):
        await socket.send_bytes(second)
    (session,) = client.app[APP_STATE].sessions._sessions.values()
    await until(lambda: session.held.counts.num_dropped == 4)
    held.clear()
    before, texts = await receive_until(socket, "overrun")
    assert texts[-1] == {"event": "overrun", "dropped_blocks": 4}
    after = await flush(socket)
    assert len(before) < len(pcm(tone(1.0)))
    assert len(before) + len(after) == len(pcm(tone(1.1))) + 2 * len(second)
    assert blocks_of(client, "dropped") == 4
    await socket.send_bytes(pcm(tone(1.5)))
    assert len(await flush(socket)) == len(pcm(tone(1.5)))
    assert blocks_of(client, "dropped") == 4
    assert blocks_of(client, "late") == 0


async def test_three_times_too_slow(serve_fake, fake, connect):
    """Most is dropped, some is heard, nothing piles up; afterwards all is as it was."""
    client = await serve_fake()
    socket = await connect(client, mode="live", block_ms=60, events=True)
    await socket.send_json({})
    await receive_until(socket, "ready")
    fake.runner.delay_s = 0.18
    block = pcm(tone(0.06))
    for _ in range(30):
        await socket.send_bytes(block)
        await asyncio.sleep(0.06)
    fake.runner.delay_s = 0.0
    await socket.send_json({"flush": True})
    heard, texts = await receive_until(socket, "flushed")
    assert 30 > len(heard) / len(block) > 2
    num_left_out = blocks_of(client, "dropped")
    assert num_left_out > 5
    overruns = [text["dropped_blocks"] for text in texts if text["event"] == "overrun"]
    assert overruns == sorted(set(overruns))
    assert overruns[-1] == texts[-1]["dropped_blocks"] == num_left_out
    assert len(heard) == pytest.approx((30 - num_left_out) * len(block), abs=len(block))
    await socket.send_bytes(pcm(tone(0.3)))
    after = await flush(socket)
    assert len(after) == len(pcm(tone(0.3)))
    assert height(after) == pytest.approx(0.25, rel=0.15)


async def test_what_lay_unread_is_dropped_and_the_delay_is_as_before(serve_fake, connect):
    """As when the event loop was busy for 0.6 s: then all that was spoken comes at once."""
    client = await serve_fake()
    socket = await connect(client, mode="live", block_ms=40, events=True, passthrough=True)
    await socket.send_json({})
    await receive_until(socket, "ready")
    block = pcm(tone(0.04))
    for _ in range(5):
        await socket.send_bytes(block)
        await asyncio.sleep(0.04)
    await asyncio.sleep(0.6)
    for _ in range(60):
        await socket.send_bytes(pcm(tone(0.01)))
    await socket.send_bytes(block)
    await socket.send_json({"flush": True})
    _, texts = await receive_until(socket, "flushed")
    overruns = [text["dropped_blocks"] for text in texts if text["event"] == "overrun"]
    assert overruns
    assert blocks_of(client, "dropped") == overruns[-1] == texts[-1]["dropped_blocks"]
    assert 16 - overruns[-1] <= 2 * MAX_WAITING


async def test_what_is_too_late_is_silence(serve_fake, fake, connect, held, until):
    client = await serve_fake()
    socket = await connect(client, mode="live", block_ms=20, events=True)
    await socket.send_json({})
    await receive_until(socket, "ready")
    held.set()
    for _ in range(8):
        await socket.send_bytes(pcm(tone(0.02)))
    while (message := await socket.receive(30)).type is not WSMsgType.BINARY:
        pass
    assert height(message.data) == 0
    assert blocks_of(client, "late") >= 1
    held.clear()
    await until(lambda: fake.engine.num_queued == 0)
    await flush(socket)
    for _ in range(2):
        await socket.send_bytes(pcm(tone(0.2)))
        audio = await flush(socket)
    assert height(audio) == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("error", [Unavailable("no memory left"), ZeroDivisionError("a fault")])
@pytest.mark.parametrize("mode", ["live", "reliable"])
async def test_what_fails_is_silence_and_told_once(serve_fake, fake, connect, error, mode):
    client = await serve_fake()
    socket = await connect(client, mode=mode, events=True, block_ms=200)
    await socket.send_json({})
    await receive_until(socket, "ready")
    fake.runner.error = error
    sent = pcm(tone(0.9))
    await socket.send_bytes(sent)
    await socket.send_json({"flush": True})
    audio, texts = await receive_until(socket, "flushed")
    assert len(audio) == len(sent)
    assert height(audio) == 0
    assert len([text for text in texts if "error" in text]) == 1
    fake.runner.error = None
    await socket.send_bytes(sent)
    assert height(await flush(socket)) == pytest.approx(0.25, rel=0.15)
    assert blocks_of(client, "failed") >= 4


async def test_reliable_loses_nothing_and_stops_reading(serve_fake, fake, connect, held, until):
    client = await serve_fake()
    socket = await connect(client, events=True, block_ms=20)
    await socket.send_json({})
    await receive_until(socket, "ready")
    held.set()
    sent = pcm(tone(10.0))

    async def send() -> None:
        for start in range(0, len(sent), 8000):
            await socket.send_bytes(sent[start : start + 8000])

    sending = asyncio.create_task(send())
    await until(lambda: fake.runner.num_held == 1)
    (connection,) = client.app[APP_STATE].sessions._sessions.values()
    stream = connection.held.stream._part
    await asyncio.sleep(0.1)
    assert stream._num_input < 1.5 * RATE_HZ
    assert blocks_of(client, "converted") == 0
    held.clear()
    await sending
    assert len(await flush(socket)) == len(sent)
    assert blocks_of(client, "dropped") == 0


async def test_flood_hurts_nobody(serve_fake, connect):
    client = await serve_fake()
    calm = await connect(client, events=True, seed=1)
    await calm.send_bytes(pcm(tone(0.5)))
    alone = await flush(calm)
    flood = await connect(client, mode="live", block_ms=20)
    sending = asyncio.create_task(flood.send_bytes(pcm(tone(60.0))))
    await calm.send_bytes(pcm(tone(0.5)))
    assert await flush(calm) == alone
    await sending
    await flood.close()


async def test_garbage_hurts_nobody(serve_fake, connect):
    client = await serve_fake()
    calm = await connect(client, events=True, seed=1)
    await calm.send_bytes(pcm(tone(0.5)))
    alone = await flush(calm)
    random = np.random.default_rng(0)
    for wire_format in ("pcm_f32le", "wav", "opus"):
        bad = await connect(client, format=wire_format)
        for _ in range(30):
            await bad.send_bytes(random.bytes(999))
        await bad.close()
    await calm.send_bytes(pcm(tone(0.5)))
    assert await flush(calm) == alone


async def test_many_streams_at_once_hear_what_they_hear_alone(serve_fake, connect):
    client = await serve_fake()
    kinds = [
        {"model_name": name, "seed": seed, "block_ms": 40 * (1 + seed)} for name in ("alice", "bob") for seed in (0, 1)
    ]

    async def stream(kind) -> bytes:
        socket = await connect(client, events=True, **kind)
        sent = pcm(tone(0.7) * (1 - 0.1 * kind["seed"]))
        for start in range(0, len(sent), 999):
            await socket.send_bytes(sent[start : start + 999])
        return await flush(socket)

    alone = [await stream(kind) for kind in kinds]
    assert await asyncio.gather(*map(stream, kinds)) == alone


async def test_client_that_does_not_read_loses_its_connection(serve_fake, connect, until):
    client = await serve_fake(max_stall_seconds=0.3)
    values = {"output_sample_rate": 192000, "output_format": "pcm_f32le", "mute": True, "sample_rate": 8000}
    socket = await connect(client, **values)
    socket._response.connection.transport.pause_reading()
    sessions = client.app[APP_STATE].sessions
    sent = bytes(2 * 8000 * 5)

    async def send() -> None:
        while True:
            await socket.send_bytes(sent)

    sending = asyncio.create_task(send())
    await until(lambda: sessions.num_attached == 1)
    await until(lambda: sessions.num_attached == 0)
    sending.cancel()
    await asyncio.wait([sending])
    assert len(sessions) == 1


async def test_busy_device_lets_nobody_in(serve_fake, fake, connect, until):
    client = await serve_fake()
    first = await connect(client, mode="live", events=True)
    await first.send_json({})
    await receive_until(first, "ready")
    admission = fake.engine.admission
    assert admission.num_streams == 1
    admission.max_load = 1.5 * admission.load
    async with client.post("/convert/stream", json={"preset": "low", "sample_rate": RATE_HZ}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "15")
    second = await connect(client)
    await second.send_json({"mode": "live"})
    await receive_until(second, "error")
    assert (await second.receive(30)).type is WSMsgType.CLOSE
    assert second.close_code == 1013
    await first.close()
    await until(lambda: admission.num_streams == 0)
    third = await connect(client, mode="live", events=True)
    await third.send_json({})
    await receive_until(third, "ready")


async def test_device_that_is_too_slow_converts_reliably_only(serve_fake, fake, connect):
    client = await serve_fake()
    fake.engine.admission.max_load = 0.01
    socket = await connect(client, mode="live")
    await socket.send_bytes(pcm(tone(0.1)))
    _, texts = await receive_until(socket, "error")
    assert "longer blocks" in texts[-1]["error"]
    assert (await socket.receive(30)).type is WSMsgType.CLOSE
    assert socket.close_code == 1013
    reliable = await connect(client, events=True)
    await reliable.send_bytes(pcm(tone(0.3)))
    assert len(await flush(reliable)) == len(pcm(tone(0.3)))


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_queue_of_a_live_stream_is_bounded():
    queue = StepQueue(Clock())
    queue.configure(is_live=True, block_s=0.1)
    dropped = [queue.put(Step(number), Message(100.0, 0.0)) for number in range(6)]
    assert [len(some) for some in dropped] == [0, 0, 1, 1, 1, 1]
    assert [queue.take().step for _ in range(MAX_WAITING)] == [Step(4), Step(5)]


async def test_queue_lets_a_long_message_wait_up_to_a_second():
    queue, message = StepQueue(Clock()), Message(100.0, 0.0)
    queue.configure(is_live=True, block_s=0.1)
    for number in range(25):
        queue.put(Step(number), message)
    assert len(queue) == 10
    queue.put(Step(99), Message(100.0, 0.0))
    assert len(queue) == MAX_WAITING


async def test_deadlines_of_blocks_that_come_too_fast_move_away():
    clock, message = Clock(), Message(100.0, 0.0)
    queue = StepQueue(clock)
    queue.configure(is_live=True, block_s=0.1)
    for number in range(3):
        queue.put(Step(number), message)
    deadlines = [queue.take().deadline_s - clock.now_s for _ in range(3)]
    first = (1 + SLACK_BLOCKS) * 0.1
    assert deadlines == pytest.approx([first, first + 0.1, first + 0.2])
    for number in range(500):
        queue.put(Step(number), Message(100.0, 0.0))
    assert queue.clear()[-1].deadline_s - clock.now_s <= first + 1.0 + 1e-6

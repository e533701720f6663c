"""An engine that is too slow for a while, in virtual time: how late blocks leave, what is dropped, what is kept."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from aiohttp import WSMessage, WSMsgType, web
from live_sockets import RATE_HZ, pcm
from virtual_time import run

from anivoice.engine.admission import Admission
from anivoice.engine.batch import WindowRequest, WindowResult, Work
from anivoice.engine.engine import Engine
from anivoice.errors import Cancelled
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import Source
from anivoice.metrics import Metrics
from anivoice.server.engine_client import EngineClient
from anivoice.server.live.connection import LiveConnection
from anivoice.server.live.queue import MAX_WAITING, SLACK_BLOCKS
from anivoice.server.live.sessions import StreamSession
from anivoice.server.live.voices import VoiceLease, typical_window
from anivoice.server.state import AppState
from anivoice.voices.voice import Voice

BLOCK_S = 0.06
MESSAGE_S = 0.02
COST_S = 0.02
STEP_S = 0.01
SLOW_COST_S = 3 * BLOCK_S
LOUD = 0.25
TONE_HZ = 400.0
"""A whole number of periods in a message."""

CONFIG = SimpleNamespace(version="v2", has_f0=True, sample_rate_hz=48000, num_speakers=1)


def made_voice() -> Voice:
    return cast(Voice, SimpleNamespace(name="alice", config=CONFIG, encoder=CONFIG, unvoiced_f0="zero"))


class SlowEngine:
    """Computes one block after the other, each for `cost_s` of the event loop's time; the result is loud. As the real
    one it stops at the next step of a job that was cancelled.
    """

    def __init__(self) -> None:
        self.admission = Admission(max_load=0.85)
        self.cost_s = COST_S
        self._device = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit_all(self, works: Sequence[Work]) -> None:
        for work in works:
            task = asyncio.create_task(self._compute(work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _compute(self, work: Work) -> None:
        request = work.request
        assert isinstance(request, WindowRequest)
        async with self._device:
            cost_s = self.cost_s
            for _ in range(round(cost_s / STEP_S)):
                await asyncio.sleep(STEP_S)
                if work.job.is_cancelled:
                    return work.promise.set_exception(Cancelled("nobody waits for it"))
        self.admission.observe(request.load_key, cost_s)
        num_samples = request.layout.decode_frames * request.voice.config.sample_rate_hz // 100
        waveform = np.full(num_samples, LOUD, np.float32)
        return work.promise.set_result(WindowResult(waveform, request.f0_known_hz, request.initial_phase))


class Socket:
    """The server's end of a client's WebSocket; what the client has sent lies here until it is read."""

    def __init__(self) -> None:
        self._sent: asyncio.Queue[WSMessage] = asyncio.Queue()
        self.num_read_bytes = 0
        self.audio = b""
        self.texts: list[str] = []

    def put(self, kind: WSMsgType, data: Any) -> None:
        self._sent.put_nowait(WSMessage(kind, data, None))

    async def receive(self) -> WSMessage:
        message = await self._sent.get()
        if message.type is WSMsgType.BINARY:
            self.num_read_bytes += len(message.data)
        return message

    async def send_bytes(self, data: bytes) -> None:
        self.audio += data

    async def send_str(self, text: str) -> None:
        self.texts.append(text)

    async def ping(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        """As its transport: whatever was sent is gone."""
        return 0


class Stream:
    """A connection whose blocks are noted: when each left (loop time), and the input's time at its end."""

    def __init__(self, mode: str) -> None:
        values = {"sample_rate": RATE_HZ, "mode": mode, "block_ms": 1000 * BLOCK_S, "context_ms": 200}
        parameters = StreamParameters.model_validate(values)
        self.engine, self.socket = SlowEngine(), Socket()
        self.left: list[tuple[float, float]] = []
        self.max_waiting = 0
        self._source = Source(made_voice(), parameters, "pm")
        self.key = typical_window(self._source).load_key
        self.engine.admission.observe(self.key, COST_S)
        self._runtime: Any = SimpleNamespace(engine=self.engine, voices=SimpleNamespace(release=lambda voice: None))
        state = SimpleNamespace(
            settings=SimpleNamespace(max_stall_seconds=60.0),
            sources=SimpleNamespace(acquire=self._acquire, must_prepare=lambda old, new: False),
            runtime=self._runtime,
            metrics=Metrics(),
            engine_client=EngineClient(cast(Engine, self.engine)),
        )
        session = StreamSession("id", parameters, 0.0, 1e9)
        clock = asyncio.get_running_loop().time
        socket, transport = cast(web.WebSocketResponse, self.socket), cast(asyncio.WriteTransport, self.socket)
        self.connection = LiveConnection(cast(AppState, state), session, socket, transport, clock)
        self.live, self._blocks = self.connection._live, self.connection._blocks
        self._convert, self._blocks._convert = self._blocks._convert, self._begins
        self._finish, self._blocks._finish = self._blocks._finish, self._ends
        self._clock: Callable[[], float] = clock

    async def _acquire(self, parameters: StreamParameters, chosen: object) -> VoiceLease:
        return VoiceLease(self._runtime, self._source, 1, self.key)

    def _begins(self, due: Any, step: Any) -> None:
        self.max_waiting = max(self.max_waiting, len(self._blocks.queue))
        self._convert(due, step)

    def _ends(self, result: Any, failed: bool) -> None:
        self.left.append((self._clock(), self._blocks._step.end_frame / 100))
        self._finish(result, failed)

    async def speak(self, seconds: float) -> None:
        """In real time, a message of 20 ms after the other."""
        phase = 2 * np.pi * TONE_HZ * np.arange(round(MESSAGE_S * RATE_HZ)) / RATE_HZ
        message = pcm((LOUD * np.sin(phase)).astype(np.float32))
        for _ in range(round(seconds / MESSAGE_S)):
            await asyncio.sleep(MESSAGE_S)
            self.socket.put(WSMsgType.BINARY, message)

    def delays_s(self, start_s: float, stop_s: float) -> list[float]:
        """From the moment when a block's last sample was spoken to its leaving, of those that left meanwhile."""
        return [left_s - end_s for left_s, end_s in self.left if start_s < left_s <= stop_s]


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

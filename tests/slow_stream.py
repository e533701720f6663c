"""A live connection beside an engine that takes as long as a test says, in virtual time."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from aiohttp import WSMessage, WSMsgType, web
from live_sockets import RATE_HZ, pcm

from anivoice.engine.admission import Admission
from anivoice.engine.batch import WindowRequest, WindowResult, Work
from anivoice.engine.engine import Engine
from anivoice.errors import Cancelled
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import Source
from anivoice.metrics import Metrics
from anivoice.server.engine_client import EngineClient
from anivoice.server.live.connection import LiveConnection
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

    async def _acquire(self, parameters: StreamParameters, chosen: object, measures: bool = False) -> VoiceLease:
        return VoiceLease(self._runtime, self._source, 1, self.key)

    def _begins(self, due: Any, step: Any) -> None:
        self.max_waiting = max(self.max_waiting, len(self._blocks.queue))
        self._convert(due, step)

    def _ends(self, result: Any, failed: bool) -> None:
        self.left.append((self._clock(), self._blocks._step.step.end_frame / 100))
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

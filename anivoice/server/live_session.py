"""One live stream with its voice, its parameters and its counts. It outlives the connections that carry it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.live_geometry import FRAME_MS, NamedGeometry
from anivoice.engine.batch import Job, LiveRequest, LiveResult
from anivoice.errors import AnivoiceError, Unavailable
from anivoice.metrics import BlockOutcome
from anivoice.server.handover import Reply
from anivoice.server.live_queue import DueStep
from anivoice.server.live_source import Lease, needs_another_voice
from anivoice.server.services import Services
from anivoice.session import LiveStream, Step
from anivoice.stream_settings import LENGTHS, StreamParameters

logger = logging.getLogger(__name__)

MAX_KEPT_TIMES = 512
MAX_EXPECTATION_BLOCKS = 5
TOO_SHORT_GROWTH = 1.25
"""After a late block the next is given up earlier, so that the one behind it, which has waited less, can be heard."""
Samples = NDArray[np.float32]
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass
class BlockCounts:
    """What became of the blocks of one stream."""

    num_blocks: int = 0
    num_dropped: int = 0
    num_late: int = 0
    num_failed: int = 0
    compute_s: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_KEPT_TIMES))

    def compute_ms(self) -> dict[str, float]:
        """Percentiles of the last blocks; empty without any."""
        if not self.compute_s:
            return {}
        values, last = sorted(self.compute_s), len(self.compute_s) - 1
        return {name: round(1000 * values[round(share * last)], 3) for name, share in PERCENTILES.items()}


class LiveSession:
    """`begin`, then any number of `change`, `convert` and `drop`, at the end `close`. Belongs to the event loop.

    `clock` in seconds is the engine's.
    """

    def __init__(self, services: Services, clock: Callable[[], float]) -> None:
        self.counts = BlockCounts()
        self.new_error: AnivoiceError | None = None
        """Why a block failed, after one that did not; the client is to be told."""
        self._is_failing = False
        self._in_time_s: deque[float] = deque(maxlen=MAX_EXPECTATION_BLOCKS)
        self._too_short_s = 0.0
        """What was not enough for the last blocks, and some more: how long they would have taken nobody knows."""
        self._services = services
        self._clock = clock
        self._stream: LiveStream | None = None
        self._abandoned: Reply | None = None
        self._lease: Lease | None = None
        self.has_audio = False
        """Samples have come: rates and lengths are settled."""

    @property
    def stream(self) -> LiveStream:
        """After `begin`."""
        assert self._stream is not None
        return self._stream

    @property
    def has_begun(self) -> bool:
        return self._stream is not None

    @property
    def parameters(self) -> StreamParameters:
        """Those that the stream runs with."""
        return self.stream.source.parameters

    @property
    def block_s(self) -> float:
        """Length of a block in seconds."""
        return self.stream.geometry.block_frames * FRAME_MS / 1000

    @property
    def computing_s(self) -> float:
        """What nearly every block takes to compute: as measured lately, else as found at the warm-up."""
        typical_s = self._services.metrics.typical_block_seconds()
        if typical_s is None and self._lease is not None:
            typical_s = self._services.room.engine.admission.p99_s(self._lease.load_key)
        return self.block_s / 2 if typical_s is None else typical_s

    async def begin(self, parameters: StreamParameters) -> None:
        """Loads and warms the voice, and takes a share of the device. Again before any audio has come: with other
        rates or lengths. Raises what `Sources.acquire` and `Lease.admit` raise.
        """
        lease = await self._services.sources.acquire(parameters, self._chosen_before(parameters))
        self._exchange(lease)
        self._stream = LiveStream(lease.source, lease.seed)

    async def change(self, parameters: StreamParameters) -> None:
        """From the next step on. Another voice is loaded and warmed while the present one goes on.

        Raises as `begin`; the stream goes on as it was then.
        """
        source = self.stream.source
        if self._services.sources.must_prepare(source.parameters, parameters):
            lease = await self._services.sources.acquire(parameters, source.chosen)
            self._exchange(lease)
            self.stream.change(lease.source)
        else:
            self.stream.change(replace(source, parameters=parameters))

    def drop(self, step: Step) -> None:
        """Leaves the step out."""
        self.stream.drop(step)
        self._count("dropped")

    def is_hopeless(self, due: DueStep) -> bool:
        """A live block that would not be done in time, by what the last ones took."""
        expected_s = max(min(self._in_time_s, default=0.0), self._too_short_s)
        return self.is_live and self._clock() + expected_s > due.deadline_s

    @property
    def is_live(self) -> bool:
        return self.parameters.mode == "live"

    async def convert(self, due: DueStep, step: Step) -> Samples:
        """The output of the step: silence if it fails, or live, if it is not done by its deadline."""
        stream = self.stream
        self.counts.num_blocks += 1
        request = stream.request(step)
        if request is None:
            self._count("passed")
            return stream.finish(step, None)
        try:
            result = await self._compute(request, due)
        except asyncio.CancelledError:
            stream.finish(step, None, failed=True)
            raise
        return stream.finish(step, result, failed=result is None)

    def close(self) -> None:
        """Gives everything back."""
        if self._lease is not None:
            self._lease.release()
        self._lease = None

    def _chosen_before(self, parameters: StreamParameters) -> NamedGeometry | None:
        """A stream that begins again as it was keeps its lengths: its own load is no reason for others."""
        if self._stream is None:
            return None
        source = self._stream.source
        is_other = needs_another_voice(source.parameters, parameters)
        asks_as_before = all(getattr(parameters, name) == getattr(source.parameters, name) for name in LENGTHS)
        return source.chosen if asks_as_before and not is_other else None

    def _exchange(self, lease: Lease) -> None:
        """Keeps `lease` in place of the present one. Raises Unavailable if it is not let in; then the old one stays."""
        old = self._lease
        if old is not None:
            old.leave()
        try:
            lease.admit()
        except Unavailable:
            lease.release()
            if old is not None:
                old.admit()
            raise
        if old is not None:
            old.release()
        self._lease = lease

    async def _compute(self, request: LiveRequest, due: DueStep) -> LiveResult | None:
        """None when it was late or failed. What is late is cancelled; until it has ended nothing else is begun."""
        started_s = self._clock()
        job = Job()
        reply = self._abandoned
        try:
            if reply is None or await self._wait(reply, due):
                self._abandoned = None
                reply = self._services.handover.submit(request, job, due.deadline_s)
                if await self._wait(reply, due):
                    return self._succeeded(reply.result(), self._clock() - started_s)
        except asyncio.CancelledError:
            job.cancel()
            raise
        except Exception as error:
            self._failed(error)
            return None
        job.cancel()
        self._abandoned = reply
        self.counts.num_late += 1
        self.counts.compute_s.append(self._clock() - started_s)
        self._too_short_s = TOO_SHORT_GROWTH * max(self.counts.compute_s[-1], self._too_short_s)
        self._count("late")
        return None

    async def _wait(self, reply: Reply, due: DueStep) -> bool:
        """Whether it ended, well or badly, by the deadline; reliable streams have none."""
        return await reply.wait(due.deadline_s - self._clock() if self.is_live else None)

    def _succeeded(self, result: object, seconds: float) -> LiveResult:
        assert isinstance(result, LiveResult)
        self._is_failing = False
        self.counts.compute_s.append(seconds)
        self._in_time_s.append(seconds)
        self._too_short_s = 0.0
        self._services.metrics.count_block_time(seconds, self.is_live)
        self._count("converted")
        return result

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, AnivoiceError):
            logger.error("a live block failed", exc_info=error)
            error = Unavailable("internal error; see the server's log")
        if not self._is_failing:
            self.new_error = error
        self._is_failing = True
        self.counts.num_failed += 1
        self._count("failed")

    def _count(self, outcome: BlockOutcome) -> None:
        self._services.metrics.count_block(outcome)

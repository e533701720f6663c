"""The blocks of one live stream in the engine, one at a time, and what became of them."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from anivoice.engine.batch import Job, WindowRequest, WindowResult
from anivoice.errors import AnivoiceError, Unavailable
from anivoice.metrics import Metrics
from anivoice.server.engine_client import EngineClient, Reply
from anivoice.server.live.queue import DueStep

logger = logging.getLogger(__name__)

MAX_KEPT_TIMES = 512
MAX_EXPECTATION_BLOCKS = 5
NUM_LAST = 4
SLOW_SHARE = 0.85
"""As much of the device's time as admission gives away."""

TOO_SHORT_GROWTH = 1.25
"""After a late block the next is given up earlier, so that the one behind it, which has waited less, can be heard."""

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass
class BlockCounts:
    """What became of the blocks of one stream."""

    num_blocks: int = 0
    num_dropped: int = 0
    num_late: int = 0
    num_failed: int = 0
    compute_s: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_KEPT_TIMES))

    @property
    def num_missed(self) -> int:
        """Blocks that nobody heard, for want of time."""
        return self.num_late + self.num_dropped

    def are_slow(self, block_s: float) -> bool:
        """Whether the last blocks took nearly as long as they last, or longer."""
        last = [self.compute_s[place] for place in range(-min(NUM_LAST, len(self.compute_s)), 0)]
        return bool(last) and sum(last) > SLOW_SHARE * block_s * len(last)

    def compute_ms(self) -> dict[str, float]:
        """Percentiles of the last blocks; empty without any."""
        if not self.compute_s:
            return {}
        values, last = sorted(self.compute_s), len(self.compute_s) - 1
        return {name: round(1000 * values[round(share * last)], 3) for name, share in PERCENTILES.items()}


@dataclass(slots=True, eq=False)
class _Block:
    """The one that is being converted."""

    request: WindowRequest
    due: DueStep
    is_live: bool
    done: Callable[[WindowResult | None], None]
    started_s: float
    job: Job = field(default_factory=Job)
    reply: Reply | None = None
    """None while an earlier block, which was given up, has not left the engine."""


class Converter:
    """`convert` one block after the other. Belongs to the event loop; `clock` in seconds is the engine's."""

    def __init__(self, engine_client: EngineClient, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.counts = BlockCounts()
        self.new_error: AnivoiceError | None = None
        """Why a block failed, after one that did not; the client is to be told."""
        self._is_failing = False
        self._in_time_s: deque[float] = deque(maxlen=MAX_EXPECTATION_BLOCKS)
        self._too_short_s = 0.0
        """What was not enough for the last blocks, and some more: how long they would have taken nobody knows."""
        self._engine_client = engine_client
        self._metrics = metrics
        self._clock = clock
        self._block: _Block | None = None
        self._in_engine: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None

    def convert(
        self, request: WindowRequest, due: DueStep, is_live: bool, done: Callable[[WindowResult | None], None]
    ) -> None:
        """Calls `done` later with the result, None if it failed, or live, if it has not come by its deadline.

        What is late is cancelled; until it has left the engine nothing else of the stream is begun there.
        """
        self.counts.num_blocks += 1
        block = self._block = _Block(request, due, is_live, done, self._clock())
        if self._in_engine is None:
            self._submit(block)
        if is_live and self._timer is None:
            self._watch(block)

    def abandon(self) -> None:
        """Nobody waits for the present block any more: `done` is not called."""
        if self._block is not None:
            self._block.job.cancel()
            self._block = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_hopeless(self, due: DueStep) -> bool:
        """Of a live block: that it would not be done in time, by what the last ones took."""
        expected_s = max(min(self._in_time_s, default=0.0), self._too_short_s)
        return self._clock() + expected_s > due.deadline_s

    def count_passed(self) -> None:
        """A block for which nothing was to be computed."""
        self.counts.num_blocks += 1
        self._metrics.count_block("passed")

    def _submit(self, block: _Block) -> None:
        reply = self._engine_client.submit(block.request, block.job, block.due.deadline_s, self._take)
        block.reply = self._in_engine = reply

    def _take(self, reply: Reply) -> None:
        """It has left the engine, well or badly: the present block, or one before it that was given up."""
        block, self._in_engine = self._block, None
        if block is None:
            return
        if block.reply is None:
            self._submit(block)
            return
        self._block = None
        block.done(self._outcome(block, reply))

    def _outcome(self, block: _Block, reply: Reply) -> WindowResult | None:
        try:
            result = reply.result()
        except Exception as error:
            self._failed(error)
            return None
        assert isinstance(result, WindowResult)
        self._succeeded(block, self._clock() - block.started_s)
        return result

    def _watch(self, block: _Block) -> None:
        """One timer for many blocks: deadlines only move away, and most are met long before."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(block.due.deadline_s - self._clock(), 0.0), self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer, block = None, self._block
        if block is None or not block.is_live:
            return
        if self._clock() < block.due.deadline_s:
            self._watch(block)
        elif block.reply is None or not block.reply.done():
            self._give_up(block)

    def _give_up(self, block: _Block) -> None:
        block.job.cancel()
        self._block = None
        seconds = self._clock() - block.started_s
        self.counts.num_late += 1
        self.counts.compute_s.append(seconds)
        self._too_short_s = TOO_SHORT_GROWTH * max(seconds, self._too_short_s)
        self._metrics.count_block("late")
        block.done(None)

    def _succeeded(self, block: _Block, seconds: float) -> None:
        self._is_failing = False
        self.counts.compute_s.append(seconds)
        self._in_time_s.append(seconds)
        self._too_short_s = 0.0
        self._metrics.count_block_time(seconds, block.is_live)
        self._metrics.count_block("converted")

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, AnivoiceError):
            logger.error("a live block failed", exc_info=error)
            error = Unavailable("internal error; see the server's log")
        if not self._is_failing:
            self.new_error = error
        self._is_failing = True
        self.counts.num_failed += 1
        self._metrics.count_block("failed")

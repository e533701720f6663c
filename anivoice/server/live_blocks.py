"""The loop of a live connection that takes block after block from the queue, has it converted, and sends it."""

import asyncio
from collections.abc import Callable

from anivoice.audio.wire import WireEncoder
from anivoice.metrics import Metrics
from anivoice.server.live_events import overrun_event
from anivoice.server.live_queue import MAX_WAITING, DueStep, StepQueue
from anivoice.server.live_sender import LiveSender
from anivoice.server.live_session import LiveSession
from anivoice.server.stream_clock import StreamClock
from anivoice.session import Step


class BlockLoop:
    """`run` is one task; the other methods are for the reader's. `encoder` is set before the first block is queued."""

    def __init__(self, live: LiveSession, sender: LiveSender, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.encoder: WireEncoder | None = None
        self.queue = StepQueue(clock)
        self.stream_clock = StreamClock(clock)
        self._live = live
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._is_converting = False
        self._left_out: list[Step] = []
        self._num_told = live.counts.num_dropped
        self._flushed = asyncio.Event()

    @property
    def is_behind(self) -> bool:
        """Whether a live stream has brought so much less than it should that blocks may be too old."""
        return self.queue.is_live and self.stream_clock.late_s > MAX_WAITING * self.queue.block_s

    async def add(self, steps: list[Step]) -> None:
        """Queues the steps that the last message made due; what has to make room for them is dropped."""
        for step in steps:
            if not self.queue.is_live:
                await self.queue.room()
            dropped = self.queue.put(step, self.stream_clock.message)
            if dropped:
                self._leave_out(dropped)

    async def flush(self) -> None:
        """Returns when everything that was fed has been sent."""
        self._flushed.clear()
        for step in (*self._live.stream.flush(), None):
            await self.queue.room()
            self.queue.put(step, None)
        self.stream_clock.reset()
        await self._flushed.wait()

    async def run(self) -> None:
        while True:
            due = await self.queue.get()
            if due.step is None:
                await self._tell_drops()
                await self._send_tail()
            elif self._is_too_old(due):
                self._leave_out([due])
            else:
                await self._tell_drops()
                await self._convert(due, due.step)

    def abandon(self) -> None:
        """The connection is gone, and what waits with it."""
        self._leave_out(self.queue.clear())

    def _is_too_old(self, due: DueStep) -> bool:
        """Of a live block: that it lay unread for longer than blocks may wait, or would not be done in time. One that
        has just come, with none behind it, is always tried: nobody knows how long it takes.
        """
        if not self.queue.is_live or due.message is None:
            return False
        if not len(self.queue):
            has_waited = self._clock() - due.message.time_s > self.queue.block_s / 2
            return has_waited and self._live.is_hopeless(due)
        unread_s = due.message.time_s - self.stream_clock.arrived_s(due.message)
        return unread_s > MAX_WAITING * self.queue.block_s or self._live.is_hopeless(due)

    async def _convert(self, due: DueStep, step: Step) -> None:
        assert self.encoder is not None
        arrived_s = None if due.message is None else self.stream_clock.arrived_s(due.message)
        self._is_converting = True
        try:
            samples = await self._live.convert(due, step)
        finally:
            self._is_converting = False
            if self._left_out:
                self._drop_left_out()
        if messages := self.encoder.feed(samples):
            await self._sender.send_audio(messages)
        if arrived_s is not None:
            self._metrics.block_delay_seconds.observe(self._clock() - arrived_s)
        if self._live.new_error is not None:
            await self._tell_failure()

    async def _tell_failure(self) -> None:
        """The first of several failures in a row."""
        error, self._live.new_error = self._live.new_error, None
        if error is not None:
            await self._sender.send_error(error)

    async def _tell_drops(self) -> None:
        """Before the first audio behind the gap."""
        num_dropped = self._live.counts.num_dropped
        if num_dropped != self._num_told:
            self._num_told = num_dropped
            await self._sender.send_event(overrun_event(self._live))

    async def _send_tail(self) -> None:
        if self.encoder is not None:
            await self._sender.send_audio(self.encoder.flush())
        self._flushed.set()

    def _leave_out(self, dropped: list[DueStep]) -> None:
        """Steps end in order: those behind one that is being converted wait for its end."""
        steps = [due.step for due in dropped if due.step is not None]
        self._left_out += steps
        self._live.counts.num_dropped += len(steps)
        if not self._is_converting:
            self._drop_left_out()

    def _drop_left_out(self) -> None:
        for step in self._left_out:
            self._live.drop(step)
        self._left_out.clear()

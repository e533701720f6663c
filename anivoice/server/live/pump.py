"""The blocks of a live connection: one after the other is taken from the queue, converted, and sent."""

import asyncio
from collections.abc import Callable, Coroutine

from anivoice.audio.wire import WireEncoder
from anivoice.engine.batch import WindowResult
from anivoice.live.spliced import PartStep
from anivoice.metrics import Metrics
from anivoice.server.live.clock import StreamClock
from anivoice.server.live.protocol import overrun_event
from anivoice.server.live.queue import MAX_WAITING, DueStep, StepQueue
from anivoice.server.live.sender import Event, LiveSender
from anivoice.server.live.session import LiveSession


class LiveBlocks:
    """Not a task: blocks come by the thousand in a second, and waking a task for each costs as much as half its
    conversion. Whoever brings something, the reader a block or the engine a result, goes on with what can be done now;
    only where the client does not take what is sent a task waits for it.

    `encoder` is set before the first block is queued. `fail` is told what ends the connection.
    """

    def __init__(
        self,
        live: LiveSession,
        sender: LiveSender,
        metrics: Metrics,
        clock: Callable[[], float],
        fail: Callable[[Exception], None],
    ) -> None:
        self.encoder: WireEncoder | None = None
        self.queue = StepQueue(clock)
        self.stream_clock = StreamClock(clock)
        self._live = live
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._fail = fail
        self._is_busy = False
        """A block is being converted or sent."""
        self._step: PartStep | None = None
        """What is being converted."""
        self._arrived_s: float | None = None
        self._overrun: Event | None = None
        self._sending: asyncio.Task[None] | None = None
        self._left_out: list[PartStep] = []
        self._num_told = live.counts.num_dropped
        self._flushed = asyncio.Event()

    @property
    def is_behind(self) -> bool:
        """Whether a live stream has brought so much less than it should that blocks may be too old."""
        return self.queue.is_live and self.stream_clock.late_s > MAX_WAITING * self.queue.block_s

    async def add(self, steps: list[PartStep]) -> None:
        """Queues the steps that the last message made due; what has to make room for them is dropped."""
        for step in steps:
            if not self.queue.is_live:
                await self.queue.room()
            dropped = self.queue.put(step, self.stream_clock.message)
            if dropped:
                self._leave_out(dropped)
            self._go_on_when_read()

    async def let_others(self) -> None:
        """A turn of the event loop for them. A stream that is behind may have more in its socket: its blocks wait."""
        self.queue.is_filling = self.is_behind
        await asyncio.sleep(0)
        self.queue.is_filling = False
        self._go_on_when_read()

    async def flush(self) -> None:
        """Returns when everything that was fed has been sent."""
        self._flushed.clear()
        for step in (*self._live.stream.flush(), None):
            await self.queue.room()
            self.queue.put(step, None)
            self._go_on()
        self.stream_clock.reset()
        await self._flushed.wait()

    def abandon(self) -> None:
        """The connection is gone, and what waits with it."""
        self._is_busy, self._fail = True, _ignore  # not a circle that only the garbage collector would find
        self._live.converter.abandon()
        if self._sending is not None:
            self._sending.cancel()
        if self._step is not None:
            step, self._step = self._step, None
            self._live.stream.finish(step, None, failed=True)
        self._leave_out(self.queue.clear())

    def _go_on_when_read(self) -> None:
        """How old the blocks of a stream that is behind are is known when all that has come has been read."""
        if self._is_busy:
            return
        if self.is_behind:
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """With the oldest that waits, unless one is on its way."""
        try:
            while not self._is_busy and (due := self.queue.take()) is not None:
                if due.step is None:
                    self._wait_for(self._send_tail())
                elif self._is_too_old(due):
                    self._leave_out([due])
                else:
                    self._convert(due, due.step)
        except Exception as error:
            self._fail(error)

    def _is_too_old(self, due: DueStep) -> bool:
        """Of a live block: that it lay unread for longer than blocks may wait, or would not be done in time. One that
        has just come, with none behind it, is always tried: nobody knows how long it takes.
        """
        if not self.queue.is_live or due.message is None:
            return False
        if not len(self.queue):
            has_waited = self._clock() - due.message.time_s > self.queue.block_s / 2
            return has_waited and self._live.converter.is_hopeless(due)
        unread_s = due.message.time_s - self.stream_clock.arrived_s(due.message)
        return unread_s > MAX_WAITING * self.queue.block_s or self._live.converter.is_hopeless(due)

    def _convert(self, due: DueStep, step: PartStep) -> None:
        self._is_busy, self._step = True, step
        self._arrived_s = None if due.message is None else self.stream_clock.arrived_s(due.message)
        self._note_drops()
        request = self._live.stream.request(step)
        if request is None:
            self._live.converter.count_passed()
            self._finish(None, failed=False)
        else:
            self._live.converter.convert(request, due, self.queue.is_live, self._take)

    def _take(self, result: WindowResult | None) -> None:
        """The engine's answer; None if the block is late or failed."""
        try:
            self._finish(result, failed=result is None)
        except Exception as error:
            return self._fail(error)
        return self._go_on()

    def _finish(self, result: WindowResult | None, failed: bool) -> None:
        """The present block leaves, in a task only if it has to wait, or not alone."""
        assert self.encoder is not None
        assert self._step is not None
        step, self._step = self._step, None
        samples = self._live.stream.finish(step, result, failed)
        if self._left_out:
            self._drop_left_out()
        self._live.meter.give(samples)
        messages = self.encoder.feed(samples)
        is_alone = self._overrun is None and self._live.converter.new_error is None
        if is_alone and self._sender.send_at_once(messages):
            self._has_left()
            self._is_busy = False
        else:
            self._wait_for(self._send(messages))

    async def _send(self, messages: list[bytes]) -> None:
        await self._tell_drops()
        await self._sender.send_audio(messages)
        self._has_left()
        await self._tell_failure()

    async def _send_tail(self) -> None:
        self._note_drops()
        await self._tell_drops()
        if self.encoder is not None:
            await self._sender.send_audio(self.encoder.flush())
        self._flushed.set()

    def _has_left(self) -> None:
        if self._arrived_s is not None:
            self._metrics.block_delay_seconds.observe(self._clock() - self._arrived_s)

    def _wait_for(self, sending: Coroutine[object, object, None]) -> None:
        """The next block is begun when this has been sent."""
        self._is_busy = True
        self._sending = asyncio.create_task(self._go_on_after(sending), name="anivoice-live-sending")

    async def _go_on_after(self, sending: Coroutine[object, object, None]) -> None:
        try:
            await sending
        except Exception as error:
            return self._fail(error)
        self._is_busy, self._sending = False, None
        return self._go_on()

    async def _tell_failure(self) -> None:
        """The first of several failures in a row."""
        error, self._live.converter.new_error = self._live.converter.new_error, None
        if error is not None:
            await self._sender.send_error(error)

    def _note_drops(self) -> None:
        """Those before the present block: what is dropped from now on lies behind it."""
        if self._live.counts.num_dropped != self._num_told:
            self._num_told = self._live.counts.num_dropped
            self._overrun = overrun_event(self._live)

    async def _tell_drops(self) -> None:
        """Before the first audio behind the gap."""
        if self._overrun is not None:
            overrun, self._overrun = self._overrun, None
            await self._sender.send_event(overrun)

    def _leave_out(self, dropped: list[DueStep]) -> None:
        """Steps end in order: those behind one that is being converted wait for its end."""
        steps = [due.step for due in dropped if due.step is not None]
        self._left_out += steps
        self._live.counts.num_dropped += len(steps)
        if self._step is None:
            self._drop_left_out()

    def _drop_left_out(self) -> None:
        for step in self._left_out:
            self._live.drop(step)
        self._left_out.clear()


def _ignore(error: Exception) -> None:
    """There is no connection any more that it could end."""

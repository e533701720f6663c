"""The loop of a live connection that takes block after block from the queue, has it converted, and sends it."""

import asyncio
from collections.abc import Callable

from anivoice.audio.wire import WireEncoder
from anivoice.metrics import Metrics
from anivoice.server.live_events import overrun_event
from anivoice.server.live_queue import DueStep, StepQueue
from anivoice.server.live_sender import LiveSender
from anivoice.server.live_session import LiveSession
from anivoice.session import Step


class BlockLoop:
    """`run` is one task; the other methods are for the reader's. `encoder` is set before the first block is queued."""

    def __init__(self, live: LiveSession, sender: LiveSender, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.encoder: WireEncoder | None = None
        self.queue = StepQueue(clock)
        self._live = live
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._is_converting = False
        self._left_out: list[Step] = []
        self._flushed = asyncio.Event()

    async def add(self, steps: list[Step], num_before: int) -> None:
        """Queues the steps, of whose message `num_before` are queued already; what is too old is dropped."""
        for number, step in enumerate(steps, num_before + 1):
            dropped = await self.queue.put(step, number)
            if dropped:
                self._leave_out(dropped)
                await self._sender.send_event(overrun_event(self._live))

    async def flush(self) -> None:
        """Returns when everything that was fed has been sent."""
        for step in self._live.stream.flush():
            await self.queue.put(step)
        self._flushed.clear()
        await self.queue.put(None)
        await self._flushed.wait()

    async def run(self) -> None:
        while True:
            due = await self.queue.get()
            if due.step is None:
                await self._send_tail()
            elif len(self.queue) and self._live.is_hopeless(due):
                self._leave_out([due])
            else:
                await self._convert(due, due.step)

    def abandon(self) -> None:
        """The connection is gone, and what waits with it."""
        self._leave_out(self.queue.clear())

    async def _convert(self, due: DueStep, step: Step) -> None:
        assert self.encoder is not None
        self._is_converting = True
        try:
            samples = await self._live.convert(due, step)
        finally:
            self._is_converting = False
            self._drop_left_out()
        if messages := self.encoder.feed(samples):
            await self._sender.send_audio(messages)
        self._metrics.block_delay_seconds.observe(self._clock() - due.arrived_s)
        await self._tell_failure()

    async def _tell_failure(self) -> None:
        """The first of several failures in a row."""
        error, self._live.new_error = self._live.new_error, None
        if error is not None:
            await self._sender.send_error(error)

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

"""The blocks of a live stream that wait for their turn: bounded, the oldest dropped or the sender held up."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from anivoice.live.spliced import PartStep
from anivoice.server.live.clock import Message

MAX_WAITING = 2
"""Blocks that wait. A live message that brings more at once may have all of them wait, up to a second."""

MAX_BURST_SECONDS = 1.0
SLACK_BLOCKS = 3
"""What a live block may take beyond its own length: the waiting of two others, and a turn of the device."""

RELIABLE_PATIENCE_SECONDS = 2.0
"""Blocks of reliable streams come so much later in the engine's order: nobody listens to them as they leave."""


class DueStep(NamedTuple):
    """A step that became due. `step` None: not a block but the mark that everything before it is to be sent."""

    step: PartStep | None
    message: Message | None
    """With which its last sample came; None: with the end of the stream, together with others."""
    deadline_s: float


class StepQueue:
    """Steps in order. Belongs to the event loop. `clock` in seconds, as the engine's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.block_s = 1.0
        self.is_live = True
        self.is_filling = False
        """More can be read at once: what has waited so long is not converted before it is known how old it is."""
        self._clock = clock
        self._waiting: deque[DueStep] = deque()
        self._has_room = asyncio.Event()
        self._turn_s = 0.0

    def configure(self, is_live: bool, block_s: float) -> None:
        """For the stream that is about to begin."""
        self.is_live, self.block_s = is_live, block_s

    def __len__(self) -> int:
        """Blocks that wait."""
        return sum(due.step is not None for due in self._waiting)

    async def room(self) -> None:
        """Reliable: waits until one more may be put."""
        while not self.is_live and len(self._waiting) >= MAX_WAITING:
            self._has_room.clear()
            await self._has_room.wait()

    def put(self, step: PartStep | None, message: Message | None) -> list[DueStep]:
        """Queues `step`, which came with `message`. Live: returns what was dropped for it."""
        self._waiting.append(DueStep(step, message, self._deadline_s(self._clock())))
        if message is None:
            return []
        message.num_steps += 1
        if not self.is_live or len(self._waiting) <= MAX_WAITING:
            return []
        max_burst = max(MAX_WAITING, int(MAX_BURST_SECONDS / self.block_s))
        max_waiting = min(max(MAX_WAITING, message.num_steps), max_burst)
        dropped: list[DueStep] = []
        while len(self) > max_waiting:
            dropped.append(self._waiting.popleft())
        return dropped

    def take(self) -> DueStep | None:
        """The oldest, if one waits and may go."""
        if not self._waiting or self.is_filling:
            return None
        self._has_room.set()
        return self._waiting.popleft()

    def clear(self) -> list[DueStep]:
        """Everything that waits, which then does not any more."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def _deadline_s(self, now_s: float) -> float:
        """Blocks that come faster than they last have later and later deadlines: others are served before them."""
        self._turn_s = min(max(now_s, self._turn_s + self.block_s), now_s + MAX_BURST_SECONDS)
        patience_s = 0.0 if self.is_live else RELIABLE_PATIENCE_SECONDS
        return self._turn_s + (1 + SLACK_BLOCKS) * self.block_s + patience_s

"""Who may convert: a bounded number of conversions run, a bounded number wait, the rest is told to come back.

Each that has begun has a thread, which mostly waits for the engine; the engine's scheduler shares the device.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from anivoice.engine.batch import Job
from anivoice.errors import OverQuota, Unavailable
from anivoice.server.auth import Caller
from anivoice.server.turns import Turn, Turns
from anivoice.stages.background import step_back

T = TypeVar("T")

FIRST_GUESS_SECONDS = 5.0
GUESS_WEIGHT = 0.2
MAX_RETRY_AFTER_SECONDS = 120
STEP_SECONDS = 0.25
"""A conversion asks so often, between two of its steps, whether it is to step aside."""
SHUTTING_DOWN = "the server is shutting down; try again later"


class Conversions:
    """Admission of file conversions and their threads. Used on the event loop; `num_*` may be read anywhere.

    A place is held from the last byte of the upload to the last byte of the answer. `max_running` of those who have
    one convert at a time; whose turn it is, `Turns` says.
    """

    def __init__(self, max_running: int, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_places_taken = 0
        self.num_running = 0
        self._max_running = max_running
        self._max_places = max_running + max_waiting
        self._clock = clock
        self._turns = Turns(max_running, clock)
        self._places: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(
            self._turns.max_begun, thread_name_prefix="anivoice-convert", initializer=step_back
        )
        self._typical_seconds = FIRST_GUESS_SECONDS
        self._closing = False

    def check_room(self, caller: Caller) -> None:
        """Raises Unavailable with a time to wait when all places are taken, OverQuota when the caller has all his."""
        self._refuse_when_closing()
        if self._places[caller.name] >= caller.max_conversions:
            raise OverQuota(
                f"{caller.max_conversions} conversions of yours run or wait, and no more are allowed at once; "
                "try again when one is done",
                self._expected_wait_seconds(),
            )
        if self.num_places_taken >= self._max_places:
            raise Unavailable(
                f"the server is busy: {self.num_running} conversions run and "
                f"{self.num_places_taken - self.num_running} more are queued or fetched; try again later",
                self._expected_wait_seconds(),
            )

    @contextmanager
    def place(self, caller: Caller) -> Iterator[None]:
        """A place for a recording that has been received. Raises as `check_room`."""
        self.check_room(caller)
        self.num_places_taken += 1
        self._places[caller.name] += 1
        try:
            yield
        finally:
            self.num_places_taken -= 1
            self._places[caller.name] -= 1
            self._places += Counter()  # keeps those above 0

    async def run(self, work: Callable[[Job], T], peer: str = "") -> T:
        """The result of `work(job)` on a thread of its own, when it is this one's turn.

        Between two steps the work calls `job.pause()`. When the caller is cancelled the job is, too, and the thread is
        waited for: it uses the caller's files.
        """
        turn = Turn(peer)
        await self._turns.take(turn)
        try:
            self._refuse_when_closing()
            return await self._run(work, turn)
        finally:
            self._turns.give_back(turn)

    async def _run(self, work: Callable[[Job], T], turn: Turn) -> T:
        loop, started = asyncio.get_running_loop(), self._clock()
        job = Job(pause=self._pause_of(turn, loop))
        running = loop.run_in_executor(self._threads, work, job)
        self.num_running += 1
        try:
            result = await asyncio.shield(running)
        except asyncio.CancelledError:
            job.cancel()
            self._turns.release(turn)
            await _until_done(running)
            raise
        finally:
            job.cancel()  # if it failed, what it still has in the engine is of no use
            self.num_running -= 1
        self._typical_seconds += GUESS_WEIGHT * (self._clock() - started - self._typical_seconds)
        return result

    def _pause_of(self, turn: Turn, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Called on the conversion's thread, often: asks the event loop now and then, and waits for its answer."""
        asked_s = self._clock()

        def pause() -> None:
            nonlocal asked_s
            if self._clock() - asked_s >= STEP_SECONDS:
                asyncio.run_coroutine_threadsafe(self._turns.step_aside(turn), loop).result()
                asked_s = self._clock()

        return pause

    def refuse_new(self) -> None:
        """From now on nobody is admitted, and those who wait for their turn fail when it comes."""
        self._closing = True

    async def close(self) -> None:
        """Waits for the threads and ends them."""
        self.refuse_new()
        await asyncio.to_thread(self._threads.shutdown)

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise Unavailable(SHUTTING_DOWN)

    def _expected_wait_seconds(self) -> float:
        """Until one of those who are ahead is done, by what conversions took lately."""
        num_waiting = self.num_places_taken - self.num_running
        seconds = math.ceil(self._typical_seconds * (num_waiting + 1) / self._max_running)
        return min(max(seconds, 1), MAX_RETRY_AFTER_SECONDS)


async def _until_done(running: asyncio.Future[T]) -> None:
    """Waits even when cancelled again; how it ended does not matter."""
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            continue
    if not running.cancelled():
        running.exception()

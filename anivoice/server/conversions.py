"""Who may convert when: a bounded number of conversions run, a bounded number wait, the rest is told to come back.

Each running conversion has a thread, which mostly waits for the engine; the engine's scheduler shares the device.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from anivoice.engine.batch import Job
from anivoice.errors import Unavailable
from anivoice.stages.background import step_back

T = TypeVar("T")

FIRST_GUESS_SECONDS = 5.0
GUESS_WEIGHT = 0.2
MAX_RETRY_AFTER_SECONDS = 120
SHUTTING_DOWN = "the server is shutting down; try again later"


class Conversions:
    """Admission of file conversions and their threads. Used on the event loop; `num_*` may be read anywhere.

    A place is held from the first byte of the upload to the last byte of the answer, so that temporary files are
    bounded as well. `max_running` of those who have a place convert at a time, in the order in which they came.
    """

    def __init__(self, max_running: int, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_places_taken = 0
        self.num_running = 0
        self._max_running = max_running
        self._max_places = max_running + max_waiting
        self._clock = clock
        self._turns = asyncio.Semaphore(max_running)
        self._threads = ThreadPoolExecutor(max_running, thread_name_prefix="anivoice-convert", initializer=step_back)
        self._typical_seconds = FIRST_GUESS_SECONDS
        self._closing = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request. Raises Unavailable with a time to wait when all are taken."""
        self._refuse_when_closing()
        if self.num_places_taken >= self._max_places:
            raise Unavailable(
                f"the server is busy: {self.num_running} conversions run and "
                f"{self.num_places_taken - self.num_running} more are queued, sent or fetched; try again later",
                self._expected_wait_seconds(),
            )
        self.num_places_taken += 1
        try:
            yield
        finally:
            self.num_places_taken -= 1

    async def run(self, work: Callable[[Job], T]) -> T:
        """The result of `work(job)` on a thread of its own, when it is this one's turn.

        When the caller is cancelled the job is, too, and the thread is waited for: it uses the caller's files.
        """
        async with self._turns:
            self._refuse_when_closing()
            job = Job()
            running = asyncio.get_running_loop().run_in_executor(self._threads, work, job)
            self.num_running += 1
            started = self._clock()
            try:
                result = await asyncio.shield(running)
            except asyncio.CancelledError:
                job.cancel()
                await _until_done(running)
                raise
            finally:
                job.cancel()  # if it failed, what it still has in the engine is of no use
                self.num_running -= 1
            self._typical_seconds += GUESS_WEIGHT * (self._clock() - started - self._typical_seconds)
            return result

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

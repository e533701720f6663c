"""The engine thread: the only code that runs on the device. Work comes in by a queue, results go back as futures."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Protocol

from anivoice.engine.batch import Job, Request, Work
from anivoice.engine.scheduler import Scheduler
from anivoice.errors import AnivoiceError, Cancelled, Unavailable

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """Carries out requests on one device. All methods are called on the engine thread."""

    def open(self) -> None:
        """Prepare the thread."""

    def steps(self, request: Request) -> Generator[str, None, object]:
        """Does the request. Wherever other work may come in between it yields the name of the stage that it has just
        done; it returns the result.
        """

    def free_memory(self) -> bool:
        """After running out of device memory: drop what is idle. True if it is worth trying again."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """True if `error` says that the device has no memory left."""


class Engine:
    """One device's queue and thread. `submit` may be called from any thread."""

    def __init__(self, runner: Runner, max_queued: int = 1024, clock: Callable[[], float] = time.perf_counter) -> None:
        self._runner = runner
        self._clock = clock
        self._max_queued = max_queued
        self._scheduler = Scheduler()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="anivoice-engine", daemon=True)
        self.busy_s = 0.0
        self.stage_s: defaultdict[str, float] = defaultdict(float)
        """Seconds spent by stage; what precedes a result's return is "result"."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after its current step; what is pending fails with Unavailable."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        for work in self._scheduler.drain():
            _fail(work, Unavailable("the server is shutting down; try again later"))

    @property
    def num_queued(self) -> int:
        """Requests that wait or run."""
        with self._changed:
            return len(self._scheduler)

    def submit(self, request: Request, job: Job, deadline_s: float | None = None) -> "Future[Any]":
        """Queue a request. The future gives the result, or raises what went wrong. Raises Unavailable when full."""
        work = Work(request, job, Future(), deadline_s)
        with self._changed:
            if self._stopping:
                raise Unavailable("the server is shutting down; try again later")
            if len(self._scheduler) >= self._max_queued:
                raise Unavailable("the engine's queue is full; try again later", retry_after_s=5)
            self._scheduler.add(work)
            self._changed.notify()
        return work.future

    def _run(self) -> None:
        self._runner.open()
        while (work := self._wait_for_work()) is not None:
            started = self._clock()
            stage, done = self._step(work)
            seconds = self._clock() - started
            with self._changed:
                self.busy_s += seconds
                self.stage_s[stage] += seconds
                self._scheduler.account(work, seconds)
                if done:
                    self._scheduler.remove(work)

    def _wait_for_work(self) -> Work | None:
        with self._changed:
            while not self._stopping:
                work = self._scheduler.next()
                if work is not None:
                    return work
                self._changed.wait()
        return None

    def _step(self, work: Work) -> tuple[str, bool]:
        """One step of `work`: its stage, and whether it is over, well or badly. A failure ends only this request."""
        if work.job.cancelled.is_set():
            _fail(work, Cancelled("the caller went away"))
            return "cancelled", True
        try:
            if work.steps is None:
                if not work.retried and not work.future.set_running_or_notify_cancel():
                    return "cancelled", True
                work.steps = self._runner.steps(work.request)
            return next(work.steps), False
        except StopIteration as end:
            work.future.set_result(end.value)
            return "result", True
        except Exception as error:
            return "failed", self._failed(work, error)

    def _failed(self, work: Work, error: Exception) -> bool:
        if self._runner.is_out_of_memory(error):
            work.steps = None
            if not work.retried and self._runner.free_memory():
                logger.warning("out of device memory: dropped an idle voice, trying once more")
                work.retried = True
                return False
            error = Unavailable("the device has no memory left for this; try again later", retry_after_s=10)
        if not isinstance(error, AnivoiceError):
            logger.error("a request failed", exc_info=error)
        _fail(work, error)
        return True


def _fail(work: Work, error: Exception) -> None:
    work.steps = None
    with suppress(InvalidStateError):  # the caller may have cancelled it, even a moment ago
        work.future.set_exception(error)

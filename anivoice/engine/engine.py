"""The engine thread: it alone gives the device its work, which comes in by a queue; results go back as futures."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Protocol

from anivoice.engine.admission import Admission
from anivoice.engine.batch import (
    Batch,
    HostWork,
    Job,
    Request,
    Stage,
    WarmWindowRequest,
    WindowRequest,
    WindowResult,
    Work,
)
from anivoice.engine.keep_warm import KeepWarm, KeepWarmPolicy
from anivoice.engine.scheduler import Scheduler
from anivoice.errors import AnivoiceError, Cancelled, Unavailable
from anivoice.models.pauses import pausing

logger = logging.getLogger(__name__)

POLL_S = 0.0003
"""How often the device is asked whether it is done, when there is nothing else to do."""


class Runner(Protocol):
    """Carries out requests on one device. All methods are called on the engine thread."""

    def open(self) -> None:
        """Prepare the thread."""

    def close(self) -> None:
        """The thread ends, and so must its helpers."""

    def steps(self, request: Request) -> Generator[Stage, None, object]:
        """Does the request. It yields the name of each stage that it has done, or what it waits for, and returns the
        result. Within a stage there are points (`models.pauses`) where others may be done.
        """

    def window_steps(
        self, requests: Sequence[WindowRequest]
    ) -> Generator[Stage, None, list[WindowResult | AnivoiceError]]:
        """The same for several live requests of one batch key; one result or error for each."""

    def nudge(self) -> None:
        """Has the device do something small, without waiting for it."""

    def free_memory(self) -> bool:
        """After running out of device memory: drop what is idle. True if it is worth trying again."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """True if `error` says that the device has no memory left."""


class Engine:
    """One device's queue and thread. `submit` may be called from any thread.

    `max_live_batch`: live requests that are computed together, at most. `admission` learns what a live block costs.
    `keep_warm`: what is done while live streams are open and nothing is to be computed.
    """

    def __init__(
        self,
        runner: Runner,
        max_queued: int = 1024,
        clock: Callable[[], float] = time.perf_counter,
        max_live_batch: int = 1,
        admission: Admission | None = None,
        keep_warm: KeepWarmPolicy = "off",
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._max_queued = max_queued
        self._scheduler = Scheduler(max_live_batch)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="anivoice-engine", daemon=True)
        self._device_free_s = 0.0
        self._at_step: list[Batch] = []
        """Begun steps, each at a point of the one before it."""
        self._charged_s = 0.0
        self.admission = admission or Admission()
        self._warmth = KeepWarm(keep_warm, runner, lambda: self.admission.num_streams > 0, clock)
        self.problem: str | None = None
        """Why nothing is computed any more: the thread has ended by a fault."""
        self.on_death: Callable[[], object] = lambda: None
        """Called on the engine thread when it ends by a fault."""
        self.busy_s = 0.0
        self.stage_s: defaultdict[str, float] = defaultdict(float)
        """Seconds spent by stage; what precedes a result's return is "result"."""
        self.live_batch_sizes: defaultdict[int, int] = defaultdict(int)
        """How many live batches of each size have been computed."""

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
        future: Future[Any] = Future()
        refused = self.submit_all([Work(request, job, future, deadline_s)])
        if refused is not None:
            raise refused
        return future

    def submit_all(self, works: Sequence[Work]) -> Unavailable | None:
        """Queue works with one wake-up. What there is no room for fails, as the result says."""
        refused: Unavailable | None = None
        with self._changed:
            room = self._max_queued - len(self._scheduler)
            if self.problem is not None:
                room, refused = 0, Unavailable(self.problem)
            elif self._stopping:
                room, refused = 0, Unavailable("the server is shutting down; try again later")
            elif len(works) > room:
                refused = Unavailable("the engine's queue is full; try again later", retry_after_s=5)
            for work in works[:room]:
                self._scheduler.add(work)
            self._changed.notify()
        for work in works[room:]:
            _fail(work, refused or Unavailable("the engine's queue is full; try again later"))
        return refused

    def _run(self) -> None:
        try:
            self._runner.open()
            self._serve()
            self._runner.close()
        except BaseException as error:
            # Whatever it is: with this thread ends every hope of those that wait.
            self._die(error)

    def _serve(self) -> None:
        with pausing(self._let_others_pass):
            while not self._stopping:
                batch = self._wait_for_work()
                if batch is None:
                    self._warmth.step()
                else:
                    self._do(batch)

    def _die(self, error: BaseException) -> None:
        """Fails all that waits, at once, and what comes later."""
        logger.critical("the engine has ended", exc_info=error)
        with self._changed:
            self.problem = f"the engine has ended ({type(error).__name__}: {error}); the server must be started again"
            works = self._scheduler.drain()
        for work in works:
            _fail(work, Unavailable(self.problem))
        self.on_death()

    def _wait_for_work(self) -> Batch | None:
        """None when the device should be kept warm meanwhile, or the engine is to stop."""
        with self._changed:
            while not self._stopping:
                batch = self._scheduler.next()
                if batch is not None:
                    return batch
                idle_s = POLL_S if self._scheduler.is_waiting else self._warmth.wait_s()
                if idle_s == 0:
                    return None
                self._changed.wait(idle_s)
        return None

    def _do(self, batch: Batch) -> None:
        """One step of `batch`, and its share of the accounts. At its points others may be done."""
        self._charge()
        self._at_step.append(batch)
        batch.is_at_step, batch.step_s = True, 0.0
        stage, done = self._step(batch)
        self._charge()
        self._at_step.pop()
        batch.is_at_step = False
        with self._changed:
            self.stage_s[stage] += batch.step_s
            self._warmth.note(batch.works[0].request)
            if done:
                self._finish(batch, stage)

    def _charge(self) -> None:
        """The time since the last call went to the latest step."""
        now = self._clock()
        seconds, self._charged_s = now - self._charged_s, now
        if not self._at_step:
            return
        batch = self._at_step[-1]
        batch.step_s += seconds
        with self._changed:
            self.busy_s += seconds
            self._scheduler.account(batch, seconds)

    def _let_others_pass(self) -> None:
        """A point in the midst of a step: what is more urgent is done right here, and the step ends if nobody wants it.

        It is done on top of the step, which goes on when it is over: as long as a live window takes, or a stage of
        another file whose turn it is.
        """
        if self._at_step:
            self._charge()
            if not self._is_wanted(self._at_step[-1]):
                raise Cancelled("the caller went away")
        while (batch := self._more_urgent()) is not None:
            self._do(batch)
        if self._at_step and self._stopping:
            raise Unavailable("the server is shutting down; try again later")

    def _more_urgent(self) -> Batch | None:
        """What goes before the step that is under way. Waits as long as that must not go on."""
        with self._changed:
            while not self._stopping:
                batch = self._scheduler.next()
                if batch is not None:
                    return None if batch.is_at_step else batch
                if not self._at_step:
                    return None
                self._changed.wait(POLL_S if self._scheduler.is_waiting else None)
        return None

    def _step(self, batch: Batch) -> tuple[str, bool]:
        """One step of `batch`: its stage, and whether it is over, well or badly. A failure ends only this batch."""
        if not self._is_wanted(batch):
            return "cancelled", True
        try:
            if batch.steps is None:
                batch.steps = self._begin(batch)
            self._end_waiting(batch)
            stage = next(batch.steps)
        except StopIteration as end:
            if self._goes_on(batch):
                return "warmed", False
            self._deliver(batch, end.value)
            return "result", True
        except Exception as error:
            return "failed", self._failed(batch, error)
        if isinstance(stage, str):
            return stage, False
        batch.waiting, batch.waiting_since_s = stage, self._clock()
        if isinstance(stage, HostWork):
            stage.future.add_done_callback(self._wake)
        return "waiting", False

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify()

    def _is_wanted(self, batch: Batch) -> bool:
        """Drops what nobody waits for any more. False if nothing is left."""
        for work in batch.works:
            if work.job.is_cancelled:
                _fail(work, Cancelled("the caller went away"))
            elif not work.running:
                work.running = work.promise.set_running_or_notify_cancel()
        if batch.steps is None:
            batch.works[1:] = [work for work in batch.works[1:] if _is_pending(work)]
        return any(map(_is_pending, batch.works))

    def _begin(self, batch: Batch) -> Generator[Stage, None, object]:
        requests = [work.request for work in batch.works]
        windows = [request for request in requests if isinstance(request, WindowRequest)]
        return self._runner.window_steps(windows) if len(windows) > 1 else self._runner.steps(requests[0])

    def _end_waiting(self, batch: Batch) -> None:
        """Counts how long the device was at it, without what it did before for others."""
        waiting, batch.waiting = batch.waiting, None
        if isinstance(waiting, HostWork):
            self._count_host_work(batch, waiting)
        elif waiting is not None:
            now = self._clock()
            batch.compute_s += max(now - max(batch.waiting_since_s, self._device_free_s), 0.0)
            self._device_free_s = now

    def _count_host_work(self, batch: Batch, work: HostWork) -> None:
        """Of threads side by side each has its share of the device."""
        total_s = sum(work.stage_s.values())
        share_s = total_s / work.num_threads
        batch.beside_s += total_s - share_s
        self.busy_s += share_s
        self._scheduler.account(batch, share_s)
        for stage, seconds in work.stage_s.items():
            self.stage_s[stage] += seconds

    def _goes_on(self, batch: Batch) -> bool:
        """A live window that has been warmed is computed once more: what that costs is what admission goes by."""
        work = batch.works[0]
        if not isinstance(work.request, WarmWindowRequest):
            return False
        work.request = work.request.steady
        batch.steps, batch.compute_s, batch.beside_s = None, 0.0, 0.0
        return True

    def _deliver(self, batch: Batch, result: Any) -> None:
        results = result if len(batch.works) > 1 else [result]
        for work, outcome in zip(batch.works, results, strict=True):
            if isinstance(outcome, AnivoiceError):
                _fail(work, outcome)
            elif _is_pending(work):
                work.promise.set_result(outcome)

    def _finish(self, batch: Batch, stage: str) -> None:
        if stage == "failed" and len(batch.works) > 1:
            self._scheduler.separate(batch)
            return
        self._scheduler.remove(batch)
        request = batch.works[0].request
        if isinstance(request, WindowRequest) and request.layout.overlaps and stage == "result":
            self.live_batch_sizes[len(batch.works)] += 1
            self._observe(batch, request)

    def _observe(self, batch: Batch, request: WindowRequest) -> None:
        elapsed_s, num = batch.compute_s + batch.beside_s, len(batch.works)
        begins = any(isinstance(work.request, WindowRequest) and work.request.begins for work in batch.works)
        self.admission.observe(request.load_key, batch.compute_s / num, elapsed_s, elapsed_s / num, begins)

    def _failed(self, batch: Batch, error: Exception) -> bool:
        """Whether the batch is over. Out of memory: once more, if something could be freed. Several: one by one."""
        batch.steps = batch.waiting = None
        if self._runner.is_out_of_memory(error):
            self._warmth.forget()
            if not any(work.retried for work in batch.works) and self._runner.free_memory():
                logger.warning("out of device memory: dropped what was idle, trying once more")
                for work in batch.works:
                    work.retried = True
                return False
            error = Unavailable("the device has no memory left for this; try again later", retry_after_s=10)
        if len(batch.works) > 1:
            logger.warning("a batch failed, its requests are tried one by one", exc_info=error)
            return True
        if not isinstance(error, AnivoiceError):
            logger.error("a request failed", exc_info=error)
        _fail(batch.works[0], error)
        return True


def _is_pending(work: Work) -> bool:
    return not work.promise.done()


def _fail(work: Work, error: Exception) -> None:
    if not work.promise.done():
        with suppress(InvalidStateError):  # the caller may have cancelled it a moment ago
            work.promise.set_exception(error)

"""The engine thread: futures, failures, cancelling, memory, stopping. No networks."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future

import numpy as np
import pytest

from anivoice.engine.batch import Job, PitchRequest, Request
from anivoice.engine.engine import Engine
from anivoice.errors import Cancelled, InvalidParameter, Unavailable

Steps = Callable[[str], Generator[str, None, object]]


class OutOfMemory(Exception):
    pass


class FakeRunner:
    """Runs a test's generator function; the request's `algo` is its argument."""

    def __init__(self, steps: Steps, memory_to_free: int = 0) -> None:
        self.run = steps
        self.memory_to_free = memory_to_free
        self.thread: threading.Thread | None = None
        self.closed_by: threading.Thread | None = None

    def open(self) -> None:
        self.thread = threading.current_thread()

    def close(self) -> None:
        self.closed_by = threading.current_thread()

    def steps(self, request: Request) -> Generator[str, None, object]:
        assert isinstance(request, PitchRequest)
        return self.run(request.algo)

    def free_memory(self) -> bool:
        self.memory_to_free -= 1
        return self.memory_to_free >= 0

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, OutOfMemory)


def request(name: str = "") -> PitchRequest:
    return PitchRequest(np.zeros(0, np.float32), name, 0.0)


@pytest.fixture
def make_engine() -> Generator[Callable[..., Engine], None, None]:
    engines: list[Engine] = []

    def make(runner: FakeRunner, **options: int) -> Engine:
        engines.append(Engine(runner, **options))
        engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


def test_a_result_comes_back_from_the_engine_thread(make_engine: Callable[..., Engine]) -> None:
    def steps(name: str) -> Generator[str, None, object]:
        yield "content"
        return (name, threading.current_thread())

    runner = FakeRunner(steps)
    engine = make_engine(runner)
    assert engine.submit(request("a"), Job()).result(5) == ("a", runner.thread)
    assert runner.thread is not threading.current_thread()
    assert "content" in engine.stage_s


def test_stopping_closes_the_runner_on_its_thread(make_engine: Callable[..., Engine]) -> None:
    runner = FakeRunner(lambda name: (yield "content"))
    engine = make_engine(runner)
    engine.submit(request(), Job()).result(5)
    assert runner.closed_by is None
    engine.stop()
    assert runner.closed_by is runner.thread


def test_one_failure_fails_one_future(make_engine: Callable[..., Engine]) -> None:
    def steps(name: str) -> Generator[str, None, object]:
        yield "content"
        if name == "bad":
            raise ValueError("broken")
        return name

    engine = make_engine(FakeRunner(steps))
    bad, good = engine.submit(request("bad"), Job()), engine.submit(request("good"), Job())
    with pytest.raises(ValueError, match="broken"):
        bad.result(5)
    assert good.result(5) == "good"


def test_errors_of_the_user_come_back_as_they_are(make_engine: Callable[..., Engine]) -> None:
    def steps(name: str) -> Generator[str, None, object]:
        raise InvalidParameter("speaker_id: none")
        yield

    engine = make_engine(FakeRunner(steps))
    with pytest.raises(InvalidParameter):
        engine.submit(request(), Job()).result(5)


def test_steps_of_two_jobs_alternate(make_engine: Callable[..., Engine]) -> None:
    done: list[str] = []
    both_queued = threading.Event()

    def steps(name: str) -> Generator[str, None, object]:
        both_queued.wait(5)
        for _ in range(20):
            done.append(name)
            yield "content"
        return None

    clock = iter(range(10_000))
    engine = make_engine(FakeRunner(steps), clock=lambda: float(next(clock)))
    futures = [engine.submit(request(name), Job()) for name in "ab"]
    both_queued.set()
    for future in futures:
        future.result(5)
    middle = done[2:-2]
    assert all(middle.count(name) >= len(middle) // 2 - 1 for name in "ab")
    assert done != sorted(done)


def test_a_cancelled_job_stops_at_its_next_step(make_engine: Callable[..., Engine]) -> None:
    job, started, go_on = Job(), threading.Event(), threading.Event()
    steps_done: list[int] = []

    def steps(name: str) -> Generator[str, None, object]:
        for i in range(1000):
            steps_done.append(i)
            started.set()
            go_on.wait(5)
            yield "content"
        return None

    engine = make_engine(FakeRunner(steps))
    running, waiting = engine.submit(request(), job), engine.submit(request(), job)
    started.wait(5)
    job.cancel()
    go_on.set()
    for future in (running, waiting):
        with pytest.raises(Cancelled):
            future.result(5)
    assert steps_done == [0]
    assert engine.num_queued == 0


def test_a_future_that_nobody_wants_is_skipped(make_engine: Callable[..., Engine]) -> None:
    go_on = threading.Event()

    def steps(name: str) -> Generator[str, None, object]:
        go_on.wait(5)
        yield "content"
        return name

    engine = make_engine(FakeRunner(steps))
    job = Job()
    first, second, third = (engine.submit(request(name), job) for name in "abc")
    assert second.cancel()
    go_on.set()
    assert first.result(5) == "a"
    assert third.result(5) == "c"


def test_a_future_cancelled_at_the_last_moment_does_not_end_the_thread(make_engine: Callable[..., Engine]) -> None:
    class LateFuture(Future[object]):
        """Cancelled just after somebody first asked whether it was done."""

        is_asked = False

        def done(self) -> bool:
            was_asked, self.is_asked = self.is_asked, True
            return was_asked and super().done()

    def steps(name: str) -> Generator[str, None, object]:
        held.wait(5)
        yield name
        return name

    held = threading.Event()
    engine = make_engine(FakeRunner(steps))
    first, job = engine.submit(request("first"), Job()), Job()
    engine.submit(request("late"), job)
    ((work,),) = (batch.works for batch in engine._scheduler._jobs[job])
    work.promise = LateFuture()
    job.cancel()
    work.promise.cancel()
    held.set()
    assert first.result(5) == "first"
    assert engine.submit(request("next"), Job()).result(5) == "next"


def test_out_of_memory_frees_and_tries_once_more(make_engine: Callable[..., Engine]) -> None:
    attempts: list[str] = []

    def steps(name: str) -> Generator[str, None, object]:
        attempts.append(name)
        yield "content"
        if len(attempts) == 1:
            raise OutOfMemory
        return name

    engine = make_engine(FakeRunner(steps, memory_to_free=1))
    assert engine.submit(request("a"), Job()).result(5) == "a"
    assert attempts == ["a", "a"]


def test_out_of_memory_twice_is_unavailable(make_engine: Callable[..., Engine]) -> None:
    def steps(name: str) -> Generator[str, None, object]:
        yield "content"
        raise OutOfMemory

    engine = make_engine(FakeRunner(steps, memory_to_free=5))
    with pytest.raises(Unavailable, match="no memory") as error:
        engine.submit(request(), Job()).result(5)
    assert error.value.retry_after_s


def test_a_full_queue_refuses(make_engine: Callable[..., Engine]) -> None:
    go_on = threading.Event()

    def steps(name: str) -> Generator[str, None, object]:
        go_on.wait(5)
        yield "content"
        return None

    engine = make_engine(FakeRunner(steps), max_queued=2)
    futures = [engine.submit(request(), Job()) for _ in range(2)]
    with pytest.raises(Unavailable, match="full"):
        engine.submit(request(), Job())
    go_on.set()
    for future in futures:
        future.result(5)


def test_stopping_fails_what_is_pending_and_refuses_what_comes_after() -> None:
    started, go_on = threading.Event(), threading.Event()

    def steps(name: str) -> Generator[str, None, object]:
        started.set()
        go_on.wait(5)
        yield "content"
        return None

    engine = Engine(FakeRunner(steps))
    engine.start()
    running, waiting = engine.submit(request(), Job()), engine.submit(request(), Job())
    started.wait(5)
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    go_on.set()
    stopper.join(5)
    for future in (running, waiting):
        with pytest.raises(Unavailable, match="shutting down"):
            future.result(5)
    with pytest.raises(Unavailable, match="shutting down"):
        engine.submit(request(), Job())


class Fault(BaseException):
    """What nobody expects on the engine thread."""


def test_when_the_thread_ends_by_a_fault_everything_that_waits_fails_at_once(
    make_engine: Callable[..., Engine],
) -> None:
    begun, go_on, has_died = threading.Event(), threading.Event(), threading.Event()

    def steps(name: str) -> Generator[str, None, object]:
        begun.set()
        go_on.wait(5)
        raise Fault("a broken driver")
        yield "content"

    engine = make_engine(FakeRunner(steps))
    engine.on_death = has_died.set
    futures = [engine.submit(request(), Job()) for _ in range(3)]
    assert begun.wait(5)
    go_on.set()
    for future in futures:
        with pytest.raises(Unavailable, match="a broken driver"):
            future.result(5)
    assert has_died.wait(5)
    with pytest.raises(Unavailable, match="must be started again"):
        engine.submit(request(), Job())


def test_a_device_that_cannot_be_opened_is_told_to_who_asks(make_engine: Callable[..., Engine]) -> None:
    class Closed(FakeRunner):
        def open(self) -> None:
            raise ValueError("no such device")

    engine = make_engine(Closed(lambda name: (yield name)))
    with pytest.raises(Unavailable, match="no such device"):
        engine.submit(request(), Job()).result(5)
    assert engine.problem is not None

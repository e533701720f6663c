"""In the midst of a step: what is more urgent goes first, and a step that nobody wants ends. No networks."""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from anivoice.engine.batch import HostWork, Job, PitchRequest, Request, Stage
from anivoice.engine.engine import Engine
from anivoice.errors import Cancelled, Unavailable
from anivoice.models.pauses import point

Steps = Generator[Stage, None, object]


class PointRunner:
    """Runs the generator function that a request's `algo` names."""

    def __init__(self, **requests: Callable[[], Steps]) -> None:
        self.requests = requests

    def open(self) -> None: ...

    def close(self) -> None: ...

    def steps(self, request: Request) -> Steps:
        assert isinstance(request, PitchRequest)
        return self.requests[request.algo]()

    def is_out_of_memory(self, error: BaseException) -> bool:
        return False


class HandClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def request(name: str) -> PitchRequest:
    return PitchRequest(np.zeros(0, np.float32), name, 0.0)


@pytest.fixture
def start() -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def made(clock: HandClock | None = None, **requests: Callable[[], Steps]) -> Engine:
        runner = PointRunner(**requests)
        engines.append(Engine(runner, clock=clock or HandClock()))  # type: ignore[arg-type]
        engines[-1].start()
        return engines[-1]

    yield made
    for engine in engines:
        engine.stop()


class Long:
    """One step that has points until `may_end` is set."""

    def __init__(self, done: list[str], name: str = "long") -> None:
        self.done, self.name = done, name
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.num_points = 0

    def __call__(self) -> Steps:
        self.begun.set()
        while not self.may_end.is_set():
            point()
            self.num_points += 1
        self.done.append(self.name)
        yield self.name
        return self.name


def short(done: list[str], name: str) -> Callable[[], Steps]:
    def steps() -> Steps:
        done.append(name)
        yield name
        return threading.current_thread()

    return steps


def test_a_live_window_is_computed_in_the_midst_of_a_files_step(start: Callable[..., Engine]) -> None:
    done: list[str] = []
    file = Long(done)
    engine = start(file=file, live=short(done, "live"))
    under_way = engine.submit(request("file"), Job())
    assert file.begun.wait(5)
    assert engine.submit(request("live"), Job(), 1.0).result(5) is engine._thread
    assert not under_way.done()
    file.may_end.set()
    assert under_way.result(5) == "long"
    assert done == ["live", "long"]


def test_an_earlier_deadline_goes_first_and_a_later_one_waits(start: Callable[..., Engine]) -> None:
    done: list[str] = []
    window = Long(done)
    engine = start(window=window, earlier=short(done, "earlier"), later=short(done, "later"))
    futures = [engine.submit(request("window"), Job(), 2.0)]
    assert window.begun.wait(5)
    futures.append(engine.submit(request("later"), Job(), 3.0))
    engine.submit(request("earlier"), Job(), 1.0).result(5)
    assert done == ["earlier"]
    window.may_end.set()
    for future in futures:
        future.result(5)
    assert done == ["earlier", "long", "later"]


def test_a_short_file_does_not_wait_for_a_long_ones_step(start: Callable[..., Engine]) -> None:
    done: list[str] = []
    file, clock = Long(done), HandClock()
    engine = start(clock, file=file, other=short(done, "other"))
    under_way = engine.submit(request("file"), Job())
    assert file.begun.wait(5)
    clock.now_s += 1.0
    engine.submit(request("other"), Job()).result(5)
    assert not under_way.done()
    file.may_end.set()
    under_way.result(5)


def test_a_cancelled_step_ends_at_its_next_point(start: Callable[..., Engine]) -> None:
    done: list[str] = []
    file, job = Long(done), Job()
    engine = start(file=file, other=short(done, "other"))
    future = engine.submit(request("file"), job)
    assert file.begun.wait(5)
    job.cancel()
    with pytest.raises(Cancelled):
        future.result(5)
    engine.submit(request("other"), Job()).result(5)
    assert done == ["other"]
    assert engine.num_queued == 0


def test_stopping_does_not_wait_for_the_step(start: Callable[..., Engine]) -> None:
    file = Long([])
    engine = start(file=file)
    future = engine.submit(request("file"), Job())
    assert file.begun.wait(5)
    engine.stop()
    with pytest.raises(Unavailable):
        future.result(5)


def test_a_failure_on_top_of_a_step_is_none_of_its_own(start: Callable[..., Engine]) -> None:
    def broken() -> Steps:
        raise ValueError("broken")
        yield

    file = Long([])
    engine = start(file=file, live=broken)
    under_way = engine.submit(request("file"), Job())
    assert file.begun.wait(5)
    with pytest.raises(ValueError, match="broken"):
        engine.submit(request("live"), Job(), 1.0).result(5)
    file.may_end.set()
    assert under_way.result(5) == "long"


def test_each_stage_is_charged_what_it_took_itself(start: Callable[..., Engine]) -> None:
    clock, live_done = HandClock(), threading.Event()
    begun = threading.Event()

    def file() -> Steps:
        clock.now_s += 3.0
        begun.set()
        while not live_done.is_set():
            point()
        clock.now_s += 4.0
        yield "file"
        return None

    def live() -> Steps:
        clock.now_s += 10.0
        yield "live"
        live_done.set()
        return None

    engine = start(clock, file=file, live=live)
    future = engine.submit(request("file"), Job())
    assert begun.wait(5)
    engine.submit(request("live"), Job(), 1.0)
    future.result(5)
    assert (engine.stage_s["file"], engine.stage_s["live"], engine.busy_s) == (7.0, 10.0, 17.0)


def test_a_file_stands_still_while_windows_have_the_cores(start: Callable[..., Engine]) -> None:
    file, computed = Long([]), Future[None]()
    counted: list[int] = []
    waiting = threading.Event()

    def live() -> Steps:
        counted.append(file.num_points)
        waiting.set()
        work = HostWork(computed)
        while not work.is_done():
            yield work
        counted.append(file.num_points)
        return None

    engine = start(file=file, live=live)
    under_way = engine.submit(request("file"), Job())
    assert file.begun.wait(5)
    future = engine.submit(request("live"), Job(), 1.0)
    assert waiting.wait(5)
    computed.set_result(None)
    future.result(5)
    file.may_end.set()
    under_way.result(5)
    assert counted[0] == counted[1]

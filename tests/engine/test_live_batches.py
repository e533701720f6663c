"""Live requests in the engine: together, one by one after a failure, dropped when cancelled. No networks."""

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from anivoice.engine.batch import (
    HostWork,
    Job,
    PitchRequest,
    Request,
    Stage,
    WarmWindowRequest,
    WindowRequest,
    WindowResult,
)
from anivoice.engine.engine import Engine
from anivoice.errors import AnivoiceError, Cancelled, InvalidParameter, Unavailable
from anivoice.frames import WindowLayout
from anivoice.voices.voice import Voice

CONFIG = SimpleNamespace(version="v2", has_f0=True, sample_rate_hz=48000)


def request(name: str, num_frames: int = 4) -> WindowRequest:
    voice = cast(Voice, SimpleNamespace(config=CONFIG, encoder=CONFIG))
    return WindowRequest(
        voice=voice,
        layout=WindowLayout(2, 20 - num_frames, num_frames - 2),
        samples=np.zeros(3200, np.float32),
        window_frame=0,
        f0_known_hz=np.frombuffer(name.ljust(8).encode(), np.float32),
        num_known_frames=0,
        algo="pm",
    )


def name_of(one: Request) -> str:
    assert isinstance(one, WindowRequest)
    return one.f0_known_hz.tobytes().decode().strip()


class OutOfMemory(Exception):
    pass


class LiveRunner:
    """Keeps the names of each batch it computed. The first step waits until `go` is set."""

    def __init__(self, bad: Callable[[list[str]], Exception | None] = lambda names: None) -> None:
        self.bad = bad
        self.go = threading.Event()
        self.batches: list[list[str]] = []
        self.can_free = False
        self.wait_for: Any = None

    def open(self) -> None:
        self.go.wait(5)

    def close(self) -> None: ...

    def steps(self, one: Request) -> Generator[Stage, None, object]:
        if isinstance(one, WarmWindowRequest):
            self.batches.append(["warm"])
            yield "placing"
            return None
        if isinstance(one, PitchRequest):
            self.batches.append(["file"])
            yield "pitch"
            return "file"
        outcome = (yield from self.window_steps([one]))[0]  # type: ignore[list-item]
        if isinstance(outcome, AnivoiceError):
            raise outcome
        return outcome

    def window_steps(
        self, requests: Sequence[WindowRequest]
    ) -> Generator[Stage, None, list[WindowResult | AnivoiceError]]:
        names = [name_of(one) for one in requests]
        self.batches.append(names)
        yield "content"
        problem = self.bad(names)
        if problem is not None:
            raise problem
        if self.wait_for is not None:
            yield self.wait_for
        return [
            InvalidParameter("nan") if name == "nan" else WindowResult(one.samples, one.f0_known_hz, 0.0)
            for name, one in zip(names, requests, strict=True)
        ]

    def free_memory(self) -> bool:
        return self.can_free

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, OutOfMemory)


@pytest.fixture
def make_engine() -> Generator[Callable[[LiveRunner], Engine], None, None]:
    engines: list[Engine] = []

    def make(runner: LiveRunner) -> Engine:
        engines.append(Engine(runner, max_live_batch=3))
        engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


def submit(engine: Engine, names: Sequence[str], job: Job | None = None) -> "list[Future[WindowResult]]":
    return [engine.submit(request(name), job or Job(), deadline_s=float(i)) for i, name in enumerate(names)]


def test_queued_requests_of_one_shape_are_computed_together(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner = LiveRunner()
    engine = make_engine(runner)
    futures = submit(engine, "abcd")
    futures.append(engine.submit(request("e", num_frames=6), Job(), deadline_s=0.5))
    file = engine.submit(PitchRequest(np.zeros(0, np.float32), "pm", 0.0), Job())
    runner.go.set()
    for name, future in zip("abcde", futures, strict=True):
        assert future.result(5).f0_hz.tobytes().decode().strip() == name
    file.result(5)
    assert runner.batches == [["a", "b", "c"], ["e"], ["d"], ["file"]]
    assert engine.live_batch_sizes == {3: 1, 1: 2}
    assert engine.num_queued == 0


def test_a_failed_batch_is_tried_one_by_one(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner = LiveRunner(lambda names: ValueError("broken") if "bad" in names else None)
    engine = make_engine(runner)
    first, bad, last = submit(engine, ["a", "bad", "c"])
    runner.go.set()
    first.result(5)
    last.result(5)
    with pytest.raises(ValueError, match="broken"):
        bad.result(5)
    assert runner.batches == [["a", "bad", "c"], ["a"], ["bad"], ["c"]]


def test_an_error_among_the_results_fails_its_own_future(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner = LiveRunner()
    first, nan = submit(make_engine(runner), ["a", "nan"])
    runner.go.set()
    first.result(5)
    with pytest.raises(InvalidParameter, match="nan"):
        nan.result(5)
    assert runner.batches == [["a", "nan"]]


def test_cancelled_work_drops_out_of_the_batch(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner, job = LiveRunner(), Job()
    engine = make_engine(runner)
    kept, unwanted = submit(engine, "ab")
    gone = engine.submit(request("c"), job, deadline_s=9.0)
    job.cancel()
    assert unwanted.cancel()
    runner.go.set()
    kept.result(5)
    with pytest.raises(Cancelled):
        gone.result(5)
    assert runner.batches == [["a"]]


def test_without_memory_a_batch_is_tried_again_and_then_one_by_one(
    make_engine: Callable[[LiveRunner], Engine],
) -> None:
    runner = LiveRunner(lambda names: OutOfMemory() if "b" in names else None)
    runner.can_free = True
    first, second = submit(make_engine(runner), "ab")
    runner.go.set()
    first.result(5)
    with pytest.raises(Unavailable, match="no memory"):
        second.result(5)
    assert runner.batches == [["a", "b"], ["a", "b"], ["a"], ["b"]]


def test_while_the_device_is_busy_the_next_batch_begins(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner = LiveRunner()
    both = threading.Event()
    runner.wait_for = SimpleNamespace(is_done=lambda: len(runner.batches) > 1 and both.is_set())
    engine = make_engine(runner)
    first = engine.submit(request("a"), Job(), deadline_s=1.0)
    second = engine.submit(request("b", num_frames=6), Job(), deadline_s=2.0)
    runner.go.set()
    while len(runner.batches) < 2:
        assert not first.done()
    both.set()
    first.result(5)
    second.result(5)
    assert "waiting" in engine.stage_s


def test_the_engine_is_woken_when_another_thread_is_done(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner = LiveRunner()
    done: Future[None] = Future()
    runner.wait_for = HostWork(done)
    engine = make_engine(runner)
    [first] = submit(engine, "a")
    runner.go.set()
    while "waiting" not in engine.stage_s:
        assert not first.done()
    done.set_result(None)
    first.result(5)


def test_a_block_costs_its_share_of_the_threads_that_work_side_by_side(
    make_engine: Callable[[LiveRunner], Engine],
) -> None:
    runner = LiveRunner()
    done: Future[None] = Future()
    done.set_result(None)
    runner.wait_for = HostWork(done, 2, {"pitch": 40.0, "decoder": 60.0})
    engine = make_engine(runner)
    [future] = submit(engine, "a")
    runner.go.set()
    future.result(5)
    engine.stop()
    cost = engine.admission.cost(request("a").load_key)
    assert cost is not None
    assert cost.mean_s == pytest.approx(50, abs=1)
    assert cost.p99_s == pytest.approx(100, abs=1)
    assert (engine.stage_s["pitch"], engine.stage_s["decoder"]) == (40.0, 60.0)
    assert engine.busy_s == pytest.approx(50, abs=1)


def test_the_engine_learns_what_a_block_costs(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner = LiveRunner()
    engine = make_engine(runner)
    futures = submit(engine, "ab")
    runner.go.set()
    for future in futures:
        future.result(5)
    engine.stop()
    key = request("a").load_key
    cost_s, p99_s = engine.admission.cost_s(key), engine.admission.p99_s(key)
    assert cost_s is not None
    assert p99_s == pytest.approx(2 * cost_s)


def test_the_window_with_which_a_stream_begins_is_not_counted(make_engine: Callable[[LiveRunner], Engine]) -> None:
    """It costs more than all others: nothing of it is known."""
    runner = LiveRunner()
    engine = make_engine(runner)
    runner.go.set()
    window = request("a")
    for frame in (0, -18, -18, -16):
        engine.submit(replace(window, window_frame=frame), Job(), 1.0).result(5)
    engine.stop()
    cost = engine.admission.cost(window.load_key)
    assert cost is not None
    assert cost.num_observed == 2


def test_warming_a_live_window_measures_it(make_engine: Callable[[LiveRunner], Engine]) -> None:
    runner = LiveRunner()
    engine = make_engine(runner)
    runner.go.set()
    warm = WarmWindowRequest(request("w"))
    assert isinstance(engine.submit(warm, Job()).result(5), WindowResult)
    engine.stop()
    assert runner.batches == [["warm"], ["w"]]
    assert engine.admission.cost_s(warm.window.load_key) is not None


def test_a_warm_up_is_of_the_middle_of_a_stream() -> None:
    steady = WarmWindowRequest(replace(request("w"), window_frame=-18)).steady
    assert (steady.window_frame, steady.num_known_frames) == (0, 20 - 2 - 0 - 1)

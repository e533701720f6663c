"""What the engine does in silences. No networks, no waiting: time is told."""

import threading
from collections.abc import Callable, Generator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from anivoice.engine.batch import Job, PitchRequest, Request, Stage, WindowRequest, WindowResult
from anivoice.engine.engine import Engine
from anivoice.engine.keep_warm import DEVICE_POLL_S, LIGHT_INTERVAL_S, UNNEEDED_INTERVAL_S, KeepWarm
from anivoice.engine.runner import TorchRunner
from anivoice.errors import AnivoiceError
from anivoice.frames import WindowLayout
from anivoice.voices.voice import Voice

BLOCK_FRAMES = 8
BLOCK_S = 0.08


def request() -> WindowRequest:
    config = SimpleNamespace(version="v2", has_f0=True, sample_rate_hz=48000)
    voice = cast(Voice, SimpleNamespace(config=config, encoder=config))
    return WindowRequest(
        voice=voice,
        layout=WindowLayout(BLOCK_FRAMES, 10, 2),
        samples=np.zeros(3200, np.float32),
        window_frame=-18,
        f0_known_hz=np.zeros(20, np.float32),
        num_known_frames=0,
        algo="pm",
    )


class Runner:
    def __init__(self) -> None:
        self.num_nudges = 0
        self.begun: list[Request] = []
        self.num_steps = 0
        self.stages: list[Stage] = ["content", "synthesizer"]
        self.error: Exception | None = None
        self.happened = threading.Event()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def nudge(self) -> None:
        if self.error is not None:
            raise self.error
        self.num_nudges += 1
        self.happened.set()

    def steps(self, one: Request) -> Generator[Stage, None, object]:
        self.begun.append(one)
        for stage in self.stages:
            self.num_steps += 1
            yield stage
        return WindowResult(np.zeros(1, np.float32), np.zeros(1, np.float32), 0.0)

    def window_steps(
        self, requests: Sequence[WindowRequest]
    ) -> Generator[Stage, None, list[WindowResult | AnivoiceError]]:
        raise NotImplementedError

    def free_memory(self) -> bool:
        return False

    def is_out_of_memory(self, error: BaseException) -> bool:
        return False


class Device:
    """A KeepWarm with its clock and its runner."""

    def __init__(self, policy: Any) -> None:
        self.runner = Runner()
        self.now_s = 100.0
        self.has_streams = True
        self.warmth = KeepWarm(policy, self.runner, lambda: self.has_streams, lambda: self.now_s)

    def run(self, seconds: float, tick_s: float = 0.001) -> None:
        """Silence: every step is done when it is due."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            while self.warmth.wait_s() == 0:
                self.warmth.step()
            self.now_s += tick_s


def test_off_does_nothing() -> None:
    device = Device("off")
    device.warmth.note(request())
    assert device.warmth.wait_s() is None


def test_light_nudges_at_intervals() -> None:
    device = Device("light")
    device.warmth.note(request())
    assert device.warmth.wait_s() == pytest.approx(LIGHT_INTERVAL_S)
    device.run(1.0)
    assert device.runner.num_nudges == pytest.approx(1.0 / LIGHT_INTERVAL_S, rel=0.1)
    assert device.runner.begun == []


def test_real_work_makes_it_needless() -> None:
    device = Device("light")
    for _ in range(100):
        device.warmth.note(PitchRequest(np.zeros(0, np.float32), "pm", 0.0))
        device.run(0.5 * LIGHT_INTERVAL_S)
    assert device.runner.num_nudges == 0


def test_full_computes_blocks_as_often_as_they_come() -> None:
    device = Device("full")
    device.warmth.note(request())
    assert device.warmth.wait_s() == pytest.approx(BLOCK_S)
    device.run(10 * BLOCK_S)
    assert len(device.runner.begun) == pytest.approx(10, abs=1)
    one = device.runner.begun[0]
    assert isinstance(one, WindowRequest)
    assert one.layout == request().layout
    assert one.window_frame == 0, "as in the middle of a stream"
    assert device.runner.num_nudges == 0


def test_full_is_light_until_there_was_a_block() -> None:
    device = Device("full")
    device.run(5 * LIGHT_INTERVAL_S)
    assert device.runner.num_nudges >= 4


def test_what_has_begun_is_given_up_for_real_work() -> None:
    device = Device("full")
    device.warmth.note(request())
    device.now_s += BLOCK_S
    device.warmth.step()
    assert device.runner.num_steps == 1
    assert device.warmth.wait_s() == 0
    device.warmth.note(request())
    assert device.warmth.wait_s() == pytest.approx(BLOCK_S)
    assert device.runner.num_steps == 1


def test_it_waits_for_the_device() -> None:
    device = Device("full")
    waiting = SimpleNamespace(is_done=lambda: False)
    device.runner.stages = [waiting]
    device.warmth.note(request())
    device.now_s += BLOCK_S
    device.warmth.step()
    assert device.warmth.wait_s() == DEVICE_POLL_S
    waiting.is_done = lambda: True
    assert device.warmth.wait_s() == 0


@pytest.mark.parametrize("policy", ["light", "full"])
def test_without_streams_it_rests_and_holds_no_voice(policy: str) -> None:
    device = Device(policy)
    device.warmth.note(request())
    device.has_streams = False
    assert device.warmth.wait_s() == UNNEEDED_INTERVAL_S
    assert device.warmth._last is None
    device.run(1.0)
    assert (device.runner.num_nudges, device.runner.begun) == (0, [])


def test_a_failure_ends_it_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    device = Device("light")
    device.runner.error = RuntimeError("no such kernel")
    device.run(10 * LIGHT_INTERVAL_S)
    assert device.warmth.wait_s() is None
    assert caplog.text.count("not kept warm any more") == 1


@pytest.fixture
def make_engine() -> Generator[Callable[[Runner, Any], Engine], None, None]:
    engines: list[Engine] = []

    def make(runner: Runner, policy: Any) -> Engine:
        engines.append(Engine(runner, keep_warm=policy))
        engines[-1].admission.observe("kind", 0.001)
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


def test_the_engine_keeps_warm_while_a_stream_is_open(make_engine: Callable[[Runner, Any], Engine]) -> None:
    runner = Runner()
    engine = make_engine(runner, "light")
    engine.admission.admit(1.0, "kind")
    engine.start()
    assert runner.happened.wait(10)
    busy_s = engine.busy_s
    engine.submit(request(), Job(), deadline_s=1.0).result(10)
    runner.happened.clear()
    assert runner.happened.wait(10)
    assert len(runner.begun) == 1
    assert busy_s == 0.0, "only real work counts"


@pytest.mark.parametrize(("policy", "num_streams"), [("off", 1), ("light", 0)])
def test_the_engine_rests_otherwise(
    make_engine: Callable[[Runner, Any], Engine], policy: str, num_streams: int
) -> None:
    runner = Runner()
    engine = make_engine(runner, policy)
    for _ in range(num_streams):
        engine.admission.admit(1.0, "kind")
    engine.start()
    engine.submit(request(), Job(), deadline_s=1.0).result(10)
    assert not runner.happened.wait(5 * LIGHT_INTERVAL_S)


def test_a_nudge_is_a_small_operation_on_the_device(tmp_path: Any) -> None:
    runner = TorchRunner(torch.device("meta"), torch.float32, tmp_path)
    runner.nudge()
    runner.nudge()
    assert runner._nudged is not None
    assert runner._nudged.device.type == "meta"

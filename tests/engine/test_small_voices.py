"""Live windows of small voices: each on one thread, several side by side. Small networks of random weights."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import OWN_VECTORS, load_voice
from engine.live_windows import WindowedStream, segment_request
from torch import nn

from anivoice.audio.live_geometry import live_layout
from anivoice.engine.batch import Job, Request, WarmRequest, WindowRequest, WindowResult
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.errors import Cancelled, Unavailable
from anivoice.stages.options import ConversionOptions
from anivoice.voices.voice import Voice

CPU = torch.device("cpu")
GEOMETRY = live_layout(block_frames=8, context_frames=60, crossfade_frames=4, lookahead_frames=2)
SPEECH = (0.1 * np.random.default_rng(5).standard_normal(16000)).astype(np.float32)


@pytest.fixture(scope="module")
def voice(h768_hf_dir: Path) -> Voice:
    return load_voice(OWN_VECTORS, {"model": "v2_f0_48k.pth", "hubert": "h768", "index": ""}, h768_hf_dir)


@pytest.fixture
def make_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Engine]]:
    """With that many threads on a machine of two cores."""
    monkeypatch.setattr("anivoice.engine.runner.num_usable_cores", lambda: 2)
    engines: list[Engine] = []

    def make(num_threads: int) -> Engine:
        engines.append(Engine(TorchRunner(CPU, torch.float32, tmp_path, num_threads)))
        engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture
def num_threads(voice: Voice) -> Iterator[dict[str, set[int]]]:
    """How many threads torch had, by network."""
    seen: defaultdict[str, set[int]] = defaultdict(set)
    networks: dict[str, nn.Module] = {
        "content": next(module for module in voice.encoder.model.modules() if isinstance(module, nn.Linear)),
        "prior": voice.model.enc_p.proj,
        "decoder": voice.model.dec.conv_pre,
    }
    hooks = [
        network.register_forward_hook(lambda *_, name=name: seen[name].add(torch.get_num_threads()))
        for name, network in networks.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


class HeldDecoder:
    """The decoder stops at its beginning, the first time, until `go` is set; then it goes on, or fails with `error`."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def __call__(self, *_: object) -> None:
        if not self.reached.is_set():
            self.reached.set()
            self.go.wait(30)
            if self.error is not None:
                raise self.error


@pytest.fixture
def held(voice: Voice) -> Iterator[HeldDecoder]:
    held = HeldDecoder()
    hook = voice.model.dec.conv_pre.register_forward_hook(held)
    yield held
    held.go.set()
    hook.remove()


def live_request(voice: Voice, seed: int = 1, formant_shift: float = 0.0, algo: str = "fcpe") -> WindowRequest:
    options = ConversionOptions(formant_shift=formant_shift)
    return WindowedStream(voice, SPEECH, GEOMETRY, algo=algo, seed=seed, options=options).request()


def submit(engine: Engine, request: WindowRequest, deadline_s: float, job: Job | None = None) -> "Future[WindowResult]":
    return engine.submit(request, job or Job(), deadline_s)


def computed(engine: Engine, request: Request) -> object:
    return engine.submit(
        request, Job(), 0.0 if isinstance(request, WindowRequest) and request.layout.overlaps else None
    ).result(30)


def test_a_live_window_is_computed_on_one_thread_and_a_file_on_all(
    make_engine: Callable[[int], Engine], voice: Voice, num_threads: dict[str, set[int]]
) -> None:
    engine = make_engine(2)
    computed(engine, live_request(voice))
    assert num_threads == {"content": {1}, "prior": {1}, "decoder": {1}}
    num_threads.clear()
    computed(engine, segment_request(voice, SPEECH, np.full(101, 200.0), 20, 60, ConversionOptions()))
    assert num_threads == {"content": {2}, "prior": {2}, "decoder": {2}}


def test_a_live_window_of_large_networks_is_computed_on_all_threads(
    make_engine: Callable[[int], Engine], voice: Voice, num_threads: dict[str, set[int]]
) -> None:
    engine = make_engine(2)
    computed(engine, WarmRequest(voice, None))
    assert voice.placed is not None
    voice.placed.encoder.is_small = voice.placed.synthesizer.is_small = False
    try:
        computed(engine, live_request(voice))
    finally:
        voice.placed = voice.encoder.placed = None
    assert num_threads == {"content": {2}, "prior": {2}, "decoder": {2}}


def test_while_one_stream_is_held_up_another_is_computed(
    make_engine: Callable[[int], Engine], voice: Voice, held: HeldDecoder
) -> None:
    engine = make_engine(2)
    slow = submit(engine, live_request(voice, 1), 1.0)
    assert held.reached.wait(30)
    for deadline_s in (2.0, 3.0):
        submit(engine, live_request(voice, 2), deadline_s).result(30)
    assert not slow.done()
    held.go.set()
    slow.result(30)


@pytest.mark.parametrize("algo", ["fcpe", "pm", "dio", "harvest"])
def test_side_by_side_every_stream_is_as_on_the_engine_thread(
    make_engine: Callable[[int], Engine], voice: Voice, algo: str
) -> None:
    requests = [live_request(voice, seed, shift, algo) for seed in range(3) for shift in (0.0, 3.3, -4.0)]
    alone = make_engine(1)
    expected = [submit(alone, request, 1.0).result(30) for request in requests]
    together = make_engine(2)
    futures = [submit(together, request, 1.0) for request in requests]
    for future, one in zip(futures, expected, strict=True):
        result = future.result(30)
        np.testing.assert_array_equal(result.waveform, one.waveform)
        np.testing.assert_array_equal(result.f0_hz, one.f0_hz)
        assert result.next_phase == one.next_phase


def test_a_failure_beside_fails_its_own_stream(
    make_engine: Callable[[int], Engine], voice: Voice, held: HeldDecoder
) -> None:
    engine = make_engine(2)
    held.error = ValueError("broken")
    bad = submit(engine, live_request(voice), 1.0)
    assert held.reached.wait(30)
    good = submit(engine, live_request(voice), 2.0)
    held.go.set()
    with pytest.raises(ValueError, match="broken"):
        bad.result(30)
    good.result(30)


def test_without_memory_a_window_is_tried_again(
    make_engine: Callable[[int], Engine], voice: Voice, held: HeldDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchRunner, "free_memory", lambda runner: True)
    held.error = MemoryError()
    held.go.set()
    assert np.isfinite(submit(make_engine(2), live_request(voice), 1.0).result(30).waveform).all()


def test_what_is_cancelled_meanwhile_gives_nothing(
    make_engine: Callable[[int], Engine], voice: Voice, held: HeldDecoder
) -> None:
    engine, job = make_engine(2), Job()
    unwanted = submit(engine, live_request(voice), 1.0, job)
    assert held.reached.wait(30)
    job.cancel()
    held.go.set()
    with pytest.raises(Cancelled):
        unwanted.result(30)
    submit(engine, live_request(voice), 2.0).result(30)
    assert engine.num_queued == 0


def test_stopping_ends_the_threads_and_fails_what_they_had(
    make_engine: Callable[[int], Engine], voice: Voice, held: HeldDecoder
) -> None:
    before = set(threading.enumerate())
    engine = make_engine(2)
    pending = [submit(engine, live_request(voice), float(i)) for i in range(4)]
    assert held.reached.wait(30)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    held.go.set()
    stopping.join(30)
    assert not stopping.is_alive()
    assert any(isinstance(future.exception(30), Unavailable) for future in pending)
    assert all(future.done() for future in pending)
    assert {thread for thread in threading.enumerate() if thread not in before} <= {stopping}

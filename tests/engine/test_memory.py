"""Out of device memory: what is dropped, and that streams go on. CUDA is a stand-in."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import OWN_VECTORS, load_voice
from engine.fake_cuda import FakeCuda, RehearsedGraphs
from engine.live_windows import WindowedStream
from torch import Tensor

from anivoice.audio.live_geometry import live_layout
from anivoice.engine.batch import Job, WarmWindowRequest, WindowRequest
from anivoice.engine.cuda_streams import CudaLanes
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.engine.steps import finish
from anivoice.engine.streams import Array
from anivoice.errors import Unavailable
from anivoice.voices.voice import Voice

CPU = torch.device("cpu")
GEOMETRY = live_layout(block_frames=8, context_frames=40, crossfade_frames=4, lookahead_frames=2)


class TightLanes(CudaLanes):
    """A device with no memory left while there are more recordings than `max_recordings`."""

    max_recordings = 1000

    def upload(self, array: Array) -> Tensor:
        assert self.graphs is not None
        if self.graphs.num_recordings > self.max_recordings:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().upload(array)


class Room:
    """A runner with two warm voices, alice and bob; those in `idle` may be dropped."""

    def __init__(self) -> None:
        cuda = FakeCuda()
        cuda.is_idle = True
        self.graphs = RehearsedGraphs(cuda, 1)
        self.lanes = TightLanes(CPU, cuda, self.graphs, pins=False)
        self.idle: list[Voice] = []
        self.runner = TorchRunner(CPU, torch.float32, OWN_VECTORS, 1, self.evict, self.lanes)
        self.alice, self.bob = self.warm_voice(), self.warm_voice()
        assert self.graphs.num_recordings == 4, "content and synthesizer of each"

    def evict(self) -> Voice | None:
        return self.idle.pop() if self.idle else None

    def warm_voice(self) -> Voice:
        voice = load_voice(OWN_VECTORS, {"model": "v1_nof0_40k.pth", "hubert": "tiny12", "index": ""}, Path("unused"))
        finish(self.runner.steps(WarmWindowRequest(self.request(voice))))
        return voice

    def request(self, voice: Voice) -> WindowRequest:
        recording = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
        return WindowedStream(voice, recording, GEOMETRY, "none").request()


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def engine(room: Room) -> Iterator[Engine]:
    engine = Engine(room.runner)
    engine.start()
    yield engine
    engine.stop()


def test_an_idle_voice_goes_with_its_recordings(room: Room) -> None:
    room.idle = [room.alice]
    assert room.runner.free_memory()
    assert room.alice.placed is None
    assert room.bob.placed is not None
    assert room.graphs.num_recordings == 3, "its encoder may be another voice's, too"


def test_without_an_idle_voice_the_recordings_go(room: Room) -> None:
    assert room.runner.free_memory()
    assert room.graphs.num_recordings == 0
    assert room.bob.placed is not None
    assert not room.runner.free_memory()


@pytest.mark.parametrize(("is_alice_idle", "num_left"), [(True, 3), (False, 0)])
def test_a_stream_goes_on_with_what_was_freed(room: Room, engine: Engine, is_alice_idle: bool, num_left: int) -> None:
    request = room.request(room.bob)
    wanted = engine.submit(request, Job(), deadline_s=1.0).result(60)
    room.idle = [room.alice] if is_alice_idle else []
    room.lanes.max_recordings = num_left
    got = engine.submit(request, Job(), deadline_s=1.0).result(60)
    np.testing.assert_allclose(got.waveform, wanted.waveform, atol=1e-5)
    assert room.graphs.num_recordings == num_left


def test_when_nothing_can_be_freed_the_block_fails_and_the_engine_goes_on(room: Room, engine: Engine) -> None:
    request = room.request(room.bob)
    room.lanes.max_recordings = -1
    with pytest.raises(Unavailable, match="no memory left"):
        engine.submit(request, Job(), deadline_s=1.0).result(60)
    room.lanes.max_recordings = 0
    assert len(engine.submit(request, Job(), deadline_s=1.0).result(60).waveform)

"""What CUDA would be asked to do, told by a stand-in for torch.cuda: which stream waits for which, what is recorded."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import OWN_VECTORS, load_voice
from engine.live_windows import WindowedStream
from torch import Tensor

from anivoice.audio.live_geometry import LiveGeometry
from anivoice.engine.batch import LiveResult, WarmLiveRequest
from anivoice.engine.cuda_graphs import MAX_GRAPHS_PER_OWNER, GraphCache, batch_size_for
from anivoice.engine.cuda_lanes import CudaLanes
from anivoice.engine.lanes import CONTENT, FILES, PITCH, SYNTHESIZER, batch_sizes
from anivoice.engine.runner import TorchRunner
from anivoice.models.steps import finish
from anivoice.stages.options import ConversionOptions

CPU = torch.device("cpu")


class FakeStream:
    def __init__(self, priority: int = 0) -> None:
        self.priority = priority
        self.waited_for: list[FakeStream] = []

    def wait_stream(self, other: "FakeStream") -> None:
        self.waited_for.append(other)


class FakeEvent:
    def __init__(self, cuda: "FakeCuda") -> None:
        self.cuda = cuda

    def record(self, stream: FakeStream) -> None:
        self.stream = stream

    def query(self) -> bool:
        return self.cuda.is_idle


class FakeGraph:
    def __init__(self) -> None:
        self.num_replays = 0

    def replay(self) -> None:
        self.num_replays += 1

    def pool(self) -> tuple[int, int]:
        return (1, id(self))


class FakeCuda:
    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.default = self.current = FakeStream()
        self.graphs: list[FakeGraph] = []
        self.pools: list[Any] = []
        self.is_idle = False
        self.capture_error: Exception | None = None

    def Stream(self, device: torch.device, priority: int = 0) -> FakeStream:
        self.streams.append(FakeStream(priority))
        return self.streams[-1]

    def Event(self) -> FakeEvent:
        return FakeEvent(self)

    def CUDAGraph(self) -> FakeGraph:
        self.graphs.append(FakeGraph())
        return self.graphs[-1]

    def default_stream(self, device: torch.device) -> FakeStream:
        return self.default

    def current_stream(self, device: torch.device | None = None) -> FakeStream:
        return self.current

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def graph(
        self, cuda_graph: FakeGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = ""
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.pools.append(pool)
        yield
        if self.capture_error is not None:
            raise self.capture_error


class Owner:
    """A network that gives its input back, so that a replay's output follows what is copied to its place."""

    def __init__(self) -> None:
        self.num_rows: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.num_rows.append(len(x))
        return x.view_as(x)


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


def rows(num_rows: int, start: float = 0.0) -> Tensor:
    return torch.arange(num_rows * 3, dtype=torch.float32).reshape(num_rows, 3) + start


def warmed(cuda: FakeCuda, owner: Owner, num_rows: int, max_batch: int = 8) -> GraphCache:
    graphs = GraphCache(cuda, max_batch)
    graphs.is_recording = True
    graphs.call(owner, "key", owner, [rows(num_rows)])
    graphs.is_recording = False
    return graphs


def test_what_was_recorded_is_replayed_for_every_batch_that_fits(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 4)
    num_runs = len(owner.num_rows)
    for num_rows in (3, 4, 3):
        x = rows(num_rows, start=100.0)
        torch.testing.assert_close(graphs.call(owner, "key", owner, [x]), x)
    assert len(owner.num_rows) == num_runs
    assert cuda.graphs[0].num_replays == 4
    assert graphs.num_recordings == 1


def test_a_result_stays_when_the_next_one_comes(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 2)
    first = graphs.call(owner, "key", owner, [rows(2)])
    graphs.call(owner, "key", owner, [rows(2, start=50.0)])
    torch.testing.assert_close(first, rows(2))


def test_nothing_is_recorded_under_live_work(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 4)
    for call in ([rows(2)], [rows(8)], [rows(4).double()], [rows(4)[:, :2]]):
        graphs.call(owner, "key", owner, call)
    graphs.call(owner, "other key", owner, [rows(4)])
    with cuda.stream(FakeStream()):
        graphs.call(owner, "key", owner, [rows(4)])
    assert len(cuda.graphs) == 1
    assert owner.num_rows[-6:] == [2, 8, 4, 4, 4, 4]


def test_recordings_of_a_stream_share_their_memory(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 1)
    graphs.is_recording = True
    graphs.call(owner, "key", owner, [rows(2)])
    with cuda.stream(FakeStream()):
        graphs.call(owner, "key", owner, [rows(2)])
    assert cuda.pools == [None, cuda.graphs[0].pool(), None]


def test_what_cannot_be_recorded_is_computed_and_not_tried_again(
    cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    owner = Owner()
    cuda.capture_error = RuntimeError("operation not permitted when stream is capturing")
    graphs = warmed(cuda, owner, 2)
    assert "without a CUDA graph" in caplog.text
    graphs.is_recording = True
    torch.testing.assert_close(graphs.call(owner, "key", owner, [rows(2)]), rows(2))
    assert len(cuda.graphs) == 1
    assert graphs.num_recordings == 0


def test_recordings_go_with_their_owner(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 2)
    del owner
    assert graphs.num_recordings == 0


def test_recordings_are_bounded(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 4, max_batch=3)
    graphs.is_recording = True
    graphs.call(owner, "key", owner, [rows(5)])
    assert len(cuda.graphs) == 1
    for key in range(2 * MAX_GRAPHS_PER_OWNER):
        graphs.call(owner, key, owner, [rows(1)])
    assert len(cuda.graphs) == MAX_GRAPHS_PER_OWNER


@pytest.mark.parametrize(("max_batch", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 8]), (8, [1, 2, 4, 8])])
def test_sizes_of_batches(max_batch: int, sizes: list[int]) -> None:
    assert batch_sizes(max_batch) == sizes
    assert all(batch_size_for(num_rows) in sizes for num_rows in range(1, max_batch + 1))


def test_every_lane_waits_for_an_upload(cuda: FakeCuda) -> None:
    lanes = CudaLanes(CPU, cuda, None, pins=False)
    array = np.arange(6).reshape(2, 3)[:, ::-1]
    np.testing.assert_array_equal(lanes.upload(array).numpy(), array)
    copy_in = cuda.streams[3]
    assert [stream.waited_for for stream in cuda.streams] == [[copy_in], [copy_in], [copy_in], [], []]
    assert all(stream.priority < 0 for stream in cuda.streams)


def test_lanes_wait_only_for_what_they_are_told(cuda: FakeCuda) -> None:
    lanes = CudaLanes(CPU, cuda, None, pins=False)
    content, pitch, synthesizer, _, copy_out = cuda.streams
    lanes.join(SYNTHESIZER, CONTENT, PITCH)
    with lanes.on(SYNTHESIZER):
        assert cuda.current is synthesizer
    lanes.download(SYNTHESIZER, [rows(2)])
    assert synthesizer.waited_for == [content, pitch]
    assert copy_out.waited_for == [synthesizer]
    assert content.waited_for == pitch.waited_for == []


def test_a_download_is_done_when_its_event_is(cuda: FakeCuda) -> None:
    lanes = CudaLanes(CPU, cuda, None, pins=False)
    download = lanes.download(SYNTHESIZER, [rows(2), torch.tensor([0.25], dtype=torch.float64)])
    assert not download.is_done()
    cuda.is_idle = True
    assert download.is_done()
    waveform, phase = download.arrays()
    np.testing.assert_array_equal(waveform, rows(2).numpy())
    assert phase.tolist() == [0.25]


def test_the_results_of_files_keep_the_copy_lane_free(cuda: FakeCuda) -> None:
    download = CudaLanes(CPU, cuda, None, pins=False).download(FILES, [rows(2)])
    assert all(stream.waited_for == [] for stream in cuda.streams)
    cuda.is_idle = True
    assert download.is_done()
    np.testing.assert_array_equal(download.arrays()[0], rows(2).numpy())


def test_every_size_of_a_batch_is_recorded_where_there_are_graphs(cuda: FakeCuda) -> None:
    assert CudaLanes(CPU, cuda, GraphCache(cuda, 5), pins=False).recorded_sizes == [1, 2, 4, 8]
    assert CudaLanes(CPU, cuda, None, pins=False).recorded_sizes == [1]


def test_what_was_placed_is_there_for_all_lanes(cuda: FakeCuda) -> None:
    CudaLanes(CPU, cuda, None, pins=False).settle()
    assert [stream.waited_for for stream in cuda.streams] == [[cuda.default]] * 3 + [[]] * 2


def test_only_the_steps_of_a_warm_up_record(cuda: FakeCuda) -> None:
    graphs = GraphCache(cuda, 1)
    seen: list[bool] = []

    def steps() -> Generator[str, None, int]:
        seen.append(graphs.is_recording)
        yield "content"
        seen.append(graphs.is_recording)
        return 5

    recording = CudaLanes(CPU, cuda, graphs, pins=False).record(steps())
    assert next(recording) == "content"
    assert not graphs.is_recording
    with pytest.raises(StopIteration) as end:
        next(recording)
    assert end.value.value == 5
    assert seen == [True, True]
    assert not graphs.is_recording


@pytest.mark.parametrize("name", ["v2_f0_48k.pth", "v2_nof0_40k.pth"])
def test_windows_on_cuda_lanes_equal_those_computed_inline(cuda: FakeCuda, h768_hf_dir: Path, name: str) -> None:
    voice = load_voice(OWN_VECTORS, {"model": name, "hubert": "h768", "index": ""}, h768_hf_dir)
    recording = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    geometry = LiveGeometry(block_frames=8, context_frames=40, crossfade_frames=4, lookahead_frames=2)
    options = [ConversionOptions(), ConversionOptions(formant_shift=2.0), ConversionOptions()]
    algo = "pm" if voice.config.has_f0 else "none"
    requests = [WindowedStream(voice, recording, geometry, algo, options=option).request() for option in options]
    inline = finish(TorchRunner(CPU, torch.float32, OWN_VECTORS, num_threads=1).live_steps(requests))
    graphs = GraphCache(cuda, 2)
    lanes = CudaLanes(CPU, cuda, graphs, pins=False)
    runner = TorchRunner(CPU, torch.float32, OWN_VECTORS, num_threads=1, lanes=lanes)
    cuda.is_idle = True
    finish(runner.steps(WarmLiveRequest(requests[0])))
    num_recordings = graphs.num_recordings
    assert num_recordings == 4, "content and synthesizer, for one window and for two"
    # A stand-in's replay gives what was recorded, so these must be computed: their shape is another.
    three = finish(runner.live_steps(requests))
    assert graphs.num_recordings == num_recordings
    for one, other in zip(three[1:2], inline[1:2], strict=True):
        assert isinstance(one, LiveResult)
        assert isinstance(other, LiveResult)
        np.testing.assert_allclose(one.waveform, other.waveform, atol=1e-4)
        np.testing.assert_array_equal(one.f0_hz, other.f0_hz)
        assert one.next_phase == pytest.approx(other.next_phase)

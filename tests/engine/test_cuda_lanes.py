"""What CUDA would be asked to do, told by a stand-in for torch.cuda: which stream waits for which, what is recorded."""

import weakref
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import OWN_VECTORS, load_voice, write_constant_rmvpe
from engine.fake_cuda import FakeCuda, FakeStream, RehearsedGraphs
from engine.live_windows import WindowedStream
from numpy.typing import NDArray
from torch import Tensor

from anivoice.audio.live_geometry import live_layout
from anivoice.engine.batch import WarmWindowRequest, WindowRequest, WindowResult
from anivoice.engine.cuda_graphs import MAX_GRAPHS_PER_OWNER, GraphCache, batch_size_for
from anivoice.engine.cuda_streams import CudaLanes
from anivoice.engine.runner import TorchRunner
from anivoice.engine.steps import finish
from anivoice.engine.streams import CONTENT, PITCH, SYNTHESIZER, batch_sizes
from anivoice.stages.options import ConversionOptions

CPU = torch.device("cpu")


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


def test_recordings_are_forgotten_one_by_one_and_all_at_once(cuda: FakeCuda) -> None:
    first, second = Owner(), Owner()
    graphs = warmed(cuda, first, 2)
    graphs.is_recording = True
    graphs.call(second, "key", second, [rows(2)])
    graphs.is_recording = False
    lanes = CudaLanes(CPU, cuda, graphs, pins=False)
    lanes.forget(first)
    lanes.forget(first)
    assert graphs.num_recordings == 1
    assert lanes.forget_all()
    assert not lanes.forget_all()
    assert graphs.num_recordings == 0
    assert cuda.num_waits == 2, "each time for what may just be replayed"
    torch.testing.assert_close(graphs.call(second, "key", second, [rows(2, 7.0)]), rows(2, 7.0))


def test_a_recording_holds_its_constants(cuda: FakeCuda) -> None:
    owner, constant = Owner(), torch.ones(3)
    held = weakref.ref(constant)
    graphs = GraphCache(cuda, 1)
    graphs.is_recording = True
    graphs.call(owner, "key", owner, [rows(1)], [constant])
    del constant
    assert held() is not None
    graphs.forget(owner)
    assert held() is None


def test_recordings_go_with_their_owner(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 2)
    del owner
    assert graphs.num_recordings == 0


def test_recordings_are_bounded_and_the_least_recently_used_go_first(cuda: FakeCuda) -> None:
    owner = Owner()
    graphs = warmed(cuda, owner, 4, max_batch=3)
    graphs.is_recording = True
    graphs.call(owner, "key", owner, [rows(5)])
    assert len(cuda.graphs) == 1
    for key in range(2 * MAX_GRAPHS_PER_OWNER):
        graphs.call(owner, key, owner, [rows(1)])
        graphs.call(owner, "key", owner, [rows(4)])
    assert graphs.num_recordings == MAX_GRAPHS_PER_OWNER
    assert cuda.num_waits == MAX_GRAPHS_PER_OWNER + 1, "what is dropped may just be replayed"
    graphs.is_recording = False
    num_runs = len(owner.num_rows)
    graphs.call(owner, "key", owner, [rows(4)])
    graphs.call(owner, 2 * MAX_GRAPHS_PER_OWNER - 1, owner, [rows(1)])
    assert len(owner.num_rows) == num_runs
    graphs.call(owner, 0, owner, [rows(1)])
    assert len(owner.num_rows) == num_runs + 1


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
    download = CudaLanes(CPU, cuda, None, pins=False).files.download(SYNTHESIZER, [rows(2)])
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


GEOMETRY = live_layout(block_frames=8, context_frames=40, crossfade_frames=4, lookahead_frames=2)


@pytest.fixture
def recording() -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)


def results_of(runner: TorchRunner, requests: list[WindowRequest]) -> list[WindowResult]:
    results = finish(runner.window_steps(requests))
    assert all(isinstance(result, WindowResult) for result in results)
    return results


@pytest.mark.parametrize(
    ("name", "formant_shift"),
    [("v2_f0_48k.pth", 0.0), ("v2_f0_48k.pth", 2.0), ("v2_f0_48k.pth", -7.0), ("v2_nof0_40k.pth", 2.0)],
)
def test_recordings_serve_every_window_of_a_stream(
    cuda: FakeCuda, h768_hf_dir: Path, recording: NDArray[np.float32], name: str, formant_shift: float
) -> None:
    """Made once, for one place in a stream, they give what is computed inline: one by one and in batches."""
    voice = load_voice(OWN_VECTORS, {"model": name, "hubert": "h768", "index": ""}, h768_hf_dir)
    algo, options = "pm" if voice.config.has_f0 else "none", ConversionOptions(formant_shift=formant_shift)
    streams = [WindowedStream(voice, recording, GEOMETRY, algo, seed=i, options=options) for i in range(3)]
    for stream in streams[1:]:
        stream.step = 2 + stream.seed
    inline = TorchRunner(CPU, torch.float32, OWN_VECTORS, num_threads=1)
    graphs = RehearsedGraphs(cuda, 4)
    cuda.is_idle = True
    runner = TorchRunner(CPU, torch.float32, OWN_VECTORS, 1, lanes=CudaLanes(CPU, cuda, graphs, pins=False))
    finish(runner.steps(WarmWindowRequest(streams[0].request())))
    num_recordings = graphs.num_recordings
    assert num_recordings == 6, "content and synthesizer, for 1, 2 and 4 windows"
    for _ in range(2):
        requests = [stream.request() for stream in streams]
        together = results_of(runner, requests)
        for stream, request, result in zip(streams, requests, together, strict=True):
            (alone,) = results_of(runner, [request])
            (wanted,) = results_of(inline, [request])
            for got in (alone, result):
                np.testing.assert_allclose(got.waveform, wanted.waveform, atol=1e-4)
                np.testing.assert_array_equal(got.f0_hz, wanted.f0_hz)
                assert got.next_phase == pytest.approx(wanted.next_phase)
            stream.take(wanted)
    assert graphs.num_recordings == num_recordings
    assert sum(graph.num_replays for graph in graphs.graphs) == 6 + 2 * (2 + 3 * 2), "nothing was computed anew"


def test_streams_with_other_formant_shifts_go_their_own_ways(
    cuda: FakeCuda, h768_hf_dir: Path, recording: NDArray[np.float32]
) -> None:
    voice = load_voice(OWN_VECTORS, {"model": "v2_f0_48k.pth", "hubert": "h768", "index": ""}, h768_hf_dir)
    options = [ConversionOptions(), ConversionOptions(formant_shift=2.0), ConversionOptions()]
    requests = [WindowedStream(voice, recording, GEOMETRY, "pm", options=option).request() for option in options]
    inline = results_of(TorchRunner(CPU, torch.float32, OWN_VECTORS, num_threads=1), requests)
    graphs = RehearsedGraphs(cuda, 4)
    cuda.is_idle = True
    runner = TorchRunner(CPU, torch.float32, OWN_VECTORS, 1, lanes=CudaLanes(CPU, cuda, graphs, pins=False))
    finish(runner.steps(WarmWindowRequest(requests[0])))
    for got, wanted in zip(results_of(runner, requests), inline, strict=True):
        np.testing.assert_allclose(got.waveform, wanted.waveform, atol=1e-4)
    assert not np.allclose(inline[0].waveform, inline[1].waveform, atol=1e-4)


def test_a_pitch_network_that_was_replaced_takes_its_recordings_along(
    cuda: FakeCuda, h768_hf_dir: Path, rmvpe_tiny_path: Path, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    """The stream goes on with the new one at its next block; what it has heard already stays."""
    voice = load_voice(OWN_VECTORS, {"model": "v2_f0_48k.pth", "hubert": "h768", "index": ""}, h768_hf_dir)
    old_hz = write_constant_rmvpe(rmvpe_tiny_path, tmp_path / "rmvpe.pt", 100)
    graphs = RehearsedGraphs(cuda, 1)
    cuda.is_idle = True
    runner = TorchRunner(CPU, torch.float32, tmp_path, 1, lanes=CudaLanes(CPU, cuda, graphs, pins=False))
    stream = WindowedStream(voice, recording, GEOMETRY, "rmvpe")
    finish(runner.steps(WarmWindowRequest(stream.request())))
    assert graphs.num_recordings == 3
    for _ in range(4):
        stream.take(results_of(runner, [stream.request()])[0])
    new_hz = write_constant_rmvpe(rmvpe_tiny_path, tmp_path / "rmvpe.pt", 150)
    runner.pitch.require("rmvpe")
    request = stream.request()
    (result,) = results_of(runner, [request])
    assert graphs.num_recordings == 2
    settled = slice(GEOMETRY.window_frames - 20, stream.num_known)
    np.testing.assert_allclose(result.f0_hz[settled], old_hz, rtol=1e-4)
    np.testing.assert_allclose(result.f0_hz[stream.num_known :], new_hz, rtol=1e-4)
    finish(runner.steps(WarmWindowRequest(request)))
    assert graphs.num_recordings == 3
    np.testing.assert_allclose(results_of(runner, [request])[0].waveform, result.waveform, atol=1e-4)

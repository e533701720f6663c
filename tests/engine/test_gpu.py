"""The same voice on a GPU: float32 equals the CPU, float16 is close, searches agree, memory comes back."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import load_voice
from engine.live_windows import WindowedStream, segment_request

from anivoice.audio.live_geometry import live_layout
from anivoice.engine.batch import Job, WarmWindowRequest
from anivoice.engine.cuda_streams import CudaLanes, build_lanes
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.engine.streams import InlineLanes, Lanes
from anivoice.stages.options import ConversionOptions
from anivoice.voices.voice import Voice

pytestmark = pytest.mark.gpu

SETTINGS = {"model": "v1_f0_40k.pth", "hubert": "tiny12", "index": "added_v1_256.index"}
GEOMETRY = live_layout(block_frames=8, context_frames=60, crossfade_frames=4, lookahead_frames=2)


@pytest.fixture
def voice(conformance_dir: Path, h768_hf_dir: Path) -> Voice:
    return load_voice(conformance_dir, SETTINGS, h768_hf_dir)


def convert(voice: Voice, folder: Path, device: str, dtype: torch.dtype, seed: int | None) -> np.ndarray:
    engine = Engine(TorchRunner(torch.device(device), dtype, folder))
    engine.start()
    try:
        rng = np.random.default_rng(0)
        samples = (0.1 * rng.standard_normal(48000)).astype(np.float32)
        f0_hz = 150 + 50 * np.sin(np.arange(300) / 20)
        f0_hz[100:140] = 0
        options = ConversionOptions(index_rate=0.5, formant_shift=1.5)
        request = segment_request(voice, samples, f0_hz, 50, 200, options, seed)
        return np.asarray(engine.submit(request, Job()).result(60).waveform)
    finally:
        engine.stop()


@pytest.fixture
def on_cpu(conformance_dir: Path, h768_hf_dir: Path) -> np.ndarray:
    voice = load_voice(conformance_dir, SETTINGS, h768_hf_dir)
    return convert(voice, conformance_dir, "cpu", torch.float32, 5)


def test_gpu_float32_equals_the_cpu(voice: Voice, conformance_dir: Path, on_cpu: np.ndarray) -> None:
    got = convert(voice, conformance_dir, "cuda", torch.float32, 5)
    np.testing.assert_allclose(got, on_cpu, atol=1e-3)


def test_gpu_float16_is_close_to_the_cpu(voice: Voice, conformance_dir: Path, on_cpu: np.ndarray) -> None:
    got = convert(voice, conformance_dir, "cuda", torch.float16, 5)
    assert np.isfinite(got).all()
    assert np.corrcoef(got, on_cpu)[0, 1] > 0.99


def test_gpu_memory_comes_back_when_a_voice_goes(voice: Voice, conformance_dir: Path) -> None:
    convert(voice, conformance_dir, "cuda", torch.float16, 5)
    voice.placed = voice.encoder.placed = None
    del voice
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    assert before < 50 * 2**20


def live(
    voice: Voice, folder: Path, lanes: Lanes, dtype: torch.dtype, num_streams: int, formant_shift: float = 0.0
) -> list[np.ndarray]:
    """The waveforms of some steps of streams that are computed together."""
    runner = TorchRunner(lanes.device, dtype, folder, lanes=lanes)
    engine = Engine(runner, max_live_batch=4)
    t = np.arange(24000) / 16000
    recording = (0.2 * sum(np.sin(2 * np.pi * h * 170 * t) / h for h in range(1, 12))).astype(np.float32)
    options = ConversionOptions(formant_shift=formant_shift)
    streams = [
        WindowedStream(voice, recording, GEOMETRY, seed=i, pitch_change=i, options=options) for i in range(num_streams)
    ]
    waveforms = []
    engine.start()
    try:
        engine.submit(WarmWindowRequest(streams[0].request()), Job()).result(300)
        for _ in range(8):
            futures = [engine.submit(stream.request(), Job(), deadline_s=0.0) for stream in streams]
            for stream, future in zip(streams, futures, strict=True):
                result = future.result(60)
                stream.take(result)
                waveforms.append(result.waveform)
    finally:
        engine.stop()
    return waveforms


def cuda_lanes(use_graphs: bool) -> Lanes:
    return build_lanes(torch.device("cuda", 0), use_graphs, max_batch=4)


@pytest.fixture
def live_on_cpu(conformance_dir: Path, h768_hf_dir: Path) -> list[np.ndarray]:
    voice = load_voice(conformance_dir, SETTINGS, h768_hf_dir)
    return live(voice, conformance_dir, InlineLanes(torch.device("cpu")), torch.float32, 3)


@pytest.mark.parametrize("use_graphs", [False, True])
def test_live_windows_on_the_gpu_equal_the_cpu(
    voice: Voice, conformance_dir: Path, live_on_cpu: list[np.ndarray], use_graphs: bool
) -> None:
    got = live(voice, conformance_dir, cuda_lanes(use_graphs), torch.float32, 3)
    np.testing.assert_allclose(got, live_on_cpu, atol=2e-3)


@pytest.mark.parametrize("formant_shift", [0.0, 3.0])
def test_graphs_equal_eager(voice: Voice, conformance_dir: Path, formant_shift: float) -> None:
    eager = live(voice, conformance_dir, cuda_lanes(False), torch.float16, 3, formant_shift)
    lanes = cuda_lanes(True)
    replayed = live(voice, conformance_dir, lanes, torch.float16, 3, formant_shift)
    assert isinstance(lanes, CudaLanes)
    assert lanes.graphs is not None
    assert lanes.graphs.num_recordings >= 6, "content and synthesizer for batches of 1, 2 and 4"
    np.testing.assert_allclose(replayed, eager, atol=2e-3)


def test_content_and_pitch_overlap_the_synthesizer_of_the_batch_before(voice: Voice, conformance_dir: Path) -> None:
    """Kernels of two streams at the same time, as the device's own clock has it."""
    lanes = cuda_lanes(False)
    runner = TorchRunner(lanes.device, torch.float16, conformance_dir, lanes=lanes)
    engine = Engine(runner, max_live_batch=1)
    recording = np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32)
    requests = [WindowedStream(voice, recording, GEOMETRY, "fcpe").request() for _ in range(12)]
    engine.start()
    try:
        engine.submit(WarmWindowRequest(requests[0]), Job()).result(300)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for future in [engine.submit(request, Job(), deadline_s=0.0) for request in requests]:
                future.result(60)
            torch.cuda.synchronize()
    finally:
        engine.stop()
    events = sorted((e.start_ns(), e.start_ns() + e.duration_ns(), e.device_resource_id()) for e in kernels(profile))
    overlapping = [a for a, b in pairwise(events) if b[0] < a[1] and a[2] != b[2]]
    assert len({stream for _, _, stream in events}) >= 3
    assert overlapping


def kernels(profile: torch.profiler.profile) -> list[Any]:
    return [e for e in profile.profiler.kineto_results.events() if e.device_type() == torch.autograd.DeviceType.CUDA]

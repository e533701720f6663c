"""The same voice on a GPU: float32 equals the CPU, float16 is close, searches agree, memory comes back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import load_voice

from anivoice.engine.batch import Job, SegmentRequest
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.stages.options import ConversionOptions
from anivoice.voices import Voice

pytestmark = pytest.mark.gpu

SETTINGS = {"model": "v1_f0_40k.pth", "hubert": "tiny12", "index": "added_v1_256.index"}


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
        request = SegmentRequest(voice, samples, f0_hz, 50, 200, options, 0.25, seed, 7)
        return np.asarray(engine.submit(request, Job()).result(60))
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

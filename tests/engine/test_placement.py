"""What a GPU would do, as far as it can be proved without one: dtypes by float16 on the CPU, devices by "meta".

On the meta device every operation checks shapes and devices and computes nothing: a tensor that was forgotten on
the CPU fails there just as it would on CUDA.
"""

import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import OWN_VECTORS, load_voice
from engine.live_windows import segment_request

from anivoice.engine.batch import WindowRequest, WindowResult
from anivoice.engine.runner import TorchRunner
from anivoice.engine.streams import Download, InlineLanes
from anivoice.stages.options import ConversionOptions
from anivoice.stages.pitch.extractor import PitchExtractor

NUM_FRAMES = 200


def request(model: str, formant_shift: float) -> WindowRequest:
    settings = {"model": model, "hubert": "tiny12", "index": "added_v1_256.index"}
    voice = load_voice(OWN_VECTORS, settings, OWN_VECTORS)
    samples = (0.1 * np.random.default_rng(0).standard_normal(48000)).astype(np.float32)
    f0_hz = 150 + 50 * np.sin(np.arange(300) / 20)
    f0_hz[100:140] = 0
    options = ConversionOptions(index_rate=0.5, formant_shift=formant_shift)
    f0 = f0_hz if voice.config.has_f0 else None
    return segment_request(voice, samples, f0, 50, NUM_FRAMES, options)


class KeepingLanes(InlineLanes):
    """Nothing can be copied from the meta device: what should be is kept, and zeros come in its place."""

    def download(self, lane: str, tensors: Sequence[torch.Tensor]) -> Download:
        self.kept = tensors
        return super().download(lane, [torch.zeros_like(tensor, device="cpu") for tensor in tensors])


def result_of(steps: Generator[str, None, object]) -> object:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def convert_on_cpu(dtype: torch.dtype, model: str, formant_shift: float) -> np.ndarray:
    runner = TorchRunner(torch.device("cpu"), dtype, OWN_VECTORS)
    result = result_of(runner.steps(request(model, formant_shift)))
    assert isinstance(result, WindowResult)
    return result.waveform


@pytest.mark.parametrize("formant_shift", [0.0, 1.5])
@pytest.mark.parametrize("model", ["v1_f0_40k.pth", "v1_nof0_40k.pth"])
def test_half_precision_gives_nearly_the_same(model: str, formant_shift: float) -> None:
    exact = convert_on_cpu(torch.float32, model, formant_shift)
    half = convert_on_cpu(torch.float16, model, formant_shift)
    assert half.dtype == np.float32
    assert np.isfinite(half).all()
    assert np.corrcoef(half, exact)[0, 1] > 0.999


@pytest.mark.parametrize("formant_shift", [0.0, 1.5])
@pytest.mark.parametrize("model", ["v1_f0_40k.pth", "v1_nof0_40k.pth"])
def test_nothing_is_forgotten_on_the_cpu(model: str, formant_shift: float) -> None:
    lanes = KeepingLanes(torch.device("meta"))
    runner = TorchRunner(lanes.device, torch.float16, OWN_VECTORS, lanes=lanes)
    asked = request(model, formant_shift)
    result_of(runner.steps(asked))
    waveform = lanes.kept[0]
    assert (waveform.device.type, waveform.dtype) == ("meta", torch.float32)
    assert waveform.shape == (1, NUM_FRAMES * asked.voice.config.frame_samples)
    assert {p.device.type for p in asked.voice.model.parameters()} == {"meta"}
    assert {p.dtype for p in asked.voice.encoder.model.parameters()} == {torch.float16}


@pytest.mark.parametrize("method", ["rmvpe", "fcpe"])
def test_no_pitch_network_forgets_anything_on_the_cpu(rmvpe_tiny_path: Path, tmp_path: Path, method: str) -> None:
    shutil.copy(rmvpe_tiny_path, tmp_path / "rmvpe.pt")
    extractor = PitchExtractor(tmp_path, torch.device("meta"), torch.float16)
    with torch.inference_mode():
        f0_hz = extractor.estimate(torch.zeros(16000), method)
    assert (f0_hz.device.type, f0_hz.dtype, f0_hz.shape) == ("meta", torch.float32, (101,))


def test_the_memory_of_a_search_index_is_counted() -> None:
    asked = request("v1_f0_40k.pth", 0.0)
    assert asked.voice.index is not None
    runner = TorchRunner(torch.device("cpu"), torch.float16, OWN_VECTORS)
    runner.placed(asked.voice)
    weights = sum(p.numel() * p.element_size() for p in asked.voice.model.parameters())
    assert asked.voice.num_bytes == weights + 2 * asked.voice.index.vectors.nbytes


def test_an_index_that_comes_later_is_used() -> None:
    asked = request("v1_f0_40k.pth", 0.0)
    runner = TorchRunner(torch.device("cpu"), torch.float32, OWN_VECTORS)
    voice, index = asked.voice, asked.voice.index
    voice.index = None
    before = runner.placed(voice)
    assert before.retriever is None
    voice.index = index
    assert runner.placed(voice) is before
    assert before.retriever is not None

"""The content encoder equals transformers' HubertModel, at any length."""

import json
from pathlib import Path

import pytest
import torch
from models.hubert_reference import CONFIGS, reference_model, reference_state
from torch.nn import functional as F

from anivoice.checkpoints.content_file import load_content_encoder_state
from anivoice.errors import InvalidModelFile
from anivoice.models.hubert import HubertConfig, HubertModel, build_hubert
from anivoice.models.hubert_features import CPU_CHUNK_FRAMES, FeatureExtractor

TINY = HubertConfig((8,) * 7, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 24, 16, 9, 3, 16, 4)
CHUNK_SAMPLES = CPU_CHUNK_FRAMES * 320


def _noise(num_samples: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(batch, num_samples, generator=generator) + 0.02


def _random_model(config: HubertConfig) -> HubertModel:
    torch.manual_seed(1)
    return HubertModel(config).eval().requires_grad_(False)


@pytest.mark.parametrize("new_spelling", [False, True])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_equals_transformers(tmp_path: Path, name: str, new_spelling: bool):
    reference = reference_model(name)
    state = reference_state(reference, new_spelling=new_spelling)
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(reference.config.to_dict()))
    model = build_hubert(*load_content_encoder_state(tmp_path))
    for num_samples in (400, 719, 720, 4_801, 7_777, CHUNK_SAMPLES + 79, CHUNK_SAMPLES + 80, CHUNK_SAMPLES + 401):
        samples = _noise(num_samples, batch=2, seed=num_samples)
        expected = reference(samples, output_hidden_states=True)
        assert model.num_frames(num_samples) == expected.last_hidden_state.shape[1]
        torch.testing.assert_close(model(samples, "v2"), expected.last_hidden_state, atol=2e-5, rtol=1e-4)
        for layer in {0, 1, model.config.num_layers}:
            hidden = expected.hidden_states[layer]
            torch.testing.assert_close(model.encode_layers(samples, layer), hidden, atol=2e-5, rtol=1e-4)
        if model.config.num_layers >= 9:
            projected = F.linear(expected.hidden_states[9], state["final_proj.weight"], state["final_proj.bias"])
            torch.testing.assert_close(model(samples, "v1"), projected, atol=5e-5, rtol=1e-4)


def test_chunks_on_the_cpu_equal_one_pass():
    torch.manual_seed(0)
    extractor = FeatureExtractor(TINY.conv_dims, TINY.conv_kernels, TINY.conv_strides).eval().requires_grad_(False)
    extractor.conv_layers[0].layer_norm.weight.add_(torch.randn(8))
    for samples in (_noise(3 * CHUNK_SAMPLES + 123, batch=3), torch.zeros(1, 5_000), torch.full((1, 5_000), 0.7)):
        whole = samples[:, None]
        for layer in extractor.conv_layers:
            whole = layer(whole)
        torch.testing.assert_close(extractor(samples), whole, atol=3e-6, rtol=1e-4)


def test_quiet_and_biased_audio_stays_exact():
    torch.manual_seed(0)
    extractor = FeatureExtractor(TINY.conv_dims, TINY.conv_kernels, TINY.conv_strides).eval().requires_grad_(False)
    exact = FeatureExtractor(TINY.conv_dims, TINY.conv_kernels, TINY.conv_strides).double().eval().requires_grad_(False)
    exact.load_state_dict(extractor.state_dict())
    for samples in (_noise(6_000) * 1e-4, _noise(6_000) * 1e-3 + 0.5):
        whole = samples.double()[:, None]
        for layer in exact.conv_layers:
            whole = layer(whole)
        torch.testing.assert_close(extractor(samples).double(), whole, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("num_samples", [0, 1, 399])
def test_too_few_samples_give_no_frames(num_samples: int):
    model = _random_model(TINY)
    assert model.num_frames(num_samples) == 0
    assert model(torch.zeros(2, num_samples), "v1").shape == (2, 0, 256)
    assert model(torch.zeros(2, num_samples), "v2").shape == (2, 0, 24)


def test_the_number_of_frames():
    for num_samples in range(400, 3_000, 37):
        assert TINY.num_frames(num_samples) == (num_samples - 400) // 320 + 1
    assert _random_model(TINY)(_noise(1_040), "v1").shape == (1, 3, 256)


@pytest.mark.parametrize("config", [
    HubertConfig((8,), (10,), (5,), 24, 16, 8, 3, 16, 4),
    HubertConfig((8,), (10,), (5,), 24, 16, 12, 3, 16, 4, proj_size=None),
])  # fmt: skip
def test_an_encoder_that_cannot_serve_v1_says_so(config: HubertConfig):
    model = _random_model(config)
    with pytest.raises(InvalidModelFile, match="v1 voices"):
        model(_noise(2_000), "v1")
    assert model(_noise(2_000), "v2").shape[2] == 24


def test_batches_equal_single_items():
    model = _random_model(TINY)
    samples = _noise(9_000, batch=3)
    together = model(samples, "v1")
    for index in range(3):
        torch.testing.assert_close(model(samples[index : index + 1], "v1")[0], together[index], atol=1e-5, rtol=1e-4)


def test_building_checks_names_and_needs_no_gradients():
    state = _random_model(TINY).state_dict()
    model = build_hubert(TINY, state)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="Missing key"):
        build_hubert(TINY, {name: tensor for name, tensor in state.items() if name != "final_proj.bias"})


def test_half_precision_is_close():
    model = _random_model(TINY)
    samples = _noise(5_000)
    expected = model(samples, "v2")
    half = model.half()(samples.half(), "v2")
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_cuda_is_close():
    model = _random_model(TINY)
    samples = _noise(30_000, batch=2)
    expected = model(samples, "v1")
    torch.testing.assert_close(model.cuda()(samples.cuda(), "v1").cpu(), expected, atol=1e-3, rtol=1e-3)
    half = model.half()(samples.cuda().half(), "v1")
    torch.testing.assert_close(half.float().cpu(), expected, atol=0.05, rtol=0.05)

"""The content encoder against the golden vectors, in all file forms."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anivoice.checkpoints.content_file import load_content_encoder_state
from anivoice.models.hubert import HubertModel, build_hubert

FORMS = (
    "tiny12_hf_safetensors",
    "tiny12_hf_bin",
    "tiny12_fairseq/hubert_base.pt",
    "tiny12_fairseq/hubert_base_legacy_format.pt",
)


def _load(path: Path) -> HubertModel:
    return build_hubert(*load_content_encoder_state(path))


def _vectors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    tolerance = json.loads(path.with_suffix(".json").read_text())["tolerance"]
    with np.load(path) as arrays:
        return dict(arrays), tolerance


def _check(actual: torch.Tensor, expected: np.ndarray, tolerance: dict[str, float]) -> None:
    torch.testing.assert_close(actual, torch.from_numpy(expected), atol=tolerance["atol"], rtol=tolerance["rtol"])


@pytest.mark.parametrize("form", FORMS)
def test_tiny_hubert_conformance(conformance_dir: Path, form: str):
    arrays, tolerance = _vectors(conformance_dir / "hubert" / "tiny12.npz")
    model = _load(conformance_dir / "hubert" / form)
    cases = sorted({name.split("/")[0] for name in arrays})
    assert cases
    for case in cases:
        samples = torch.from_numpy(arrays[f"{case}/wav"].astype(np.float32) / 32_768)[None]
        conv = model.feature_extractor(samples)
        stages = {
            "v1": lambda samples=samples: model(samples, "v1"),
            "v2": lambda samples=samples: model(samples, "v2"),
            "conv": lambda conv=conv: conv,
            "proj": lambda conv=conv: model.feature_projection(conv),
        }
        for name in arrays:
            field = name.removeprefix(f"{case}/")
            if field.startswith("hs") and "/" not in field:
                _check(model.encode_layers(samples, int(field[2:]))[0], arrays[name], tolerance)
            elif field in stages:
                _check(stages[field]()[0], arrays[name], tolerance)
        assert model.num_frames(samples.shape[1]) == conv.shape[2]


def test_all_forms_hold_the_same_weights_conformance(conformance_dir: Path):
    config, state = load_content_encoder_state(conformance_dir / "hubert" / FORMS[0])
    for form in FORMS[1:]:
        other_config, other = load_content_encoder_state(conformance_dir / "hubert" / form)
        assert other_config == config
        assert other.keys() == state.keys()
        for name, tensor in state.items():
            torch.testing.assert_close(other[name], tensor, atol=1e-4, rtol=1e-3)


def test_wide_hubert_conformance(conformance_dir: Path, h768_hf_dir: Path):
    arrays, tolerance = _vectors(conformance_dir / "hubert" / "h768.npz")
    model = _load(h768_hf_dir)
    samples = torch.from_numpy(arrays["wav"].astype(np.float32) / 32_768)[None]
    _check(model(samples, "v2")[0], arrays["v2"], tolerance)

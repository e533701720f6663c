"""Content encoder files: three forms, both weight-norm spellings, and clear refusals."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from models.hubert_reference import reference_model, reference_state

from anivoice.checkpoints.content_file import load_content_encoder_state
from anivoice.checkpoints.content_layout import expected_content_shapes, from_fairseq_name
from anivoice.checkpoints.safe_tensors import save_safetensors
from anivoice.errors import InvalidModelFile


@pytest.fixture
def hf_dir(tmp_path: Path) -> Path:
    """A Hugging Face directory with random weights and a final projection."""
    model = reference_model("two_layers")
    directory = tmp_path / "encoder"
    directory.mkdir()
    settings = {**model.config.to_dict(), "classifier_proj_size": 256}
    (directory / "config.json").write_text(json.dumps(settings))
    torch.save(reference_state(model, new_spelling=False), directory / "pytorch_model.bin")
    return directory


def _refusal(path: Path) -> str:
    with pytest.raises(InvalidModelFile) as caught:
        load_content_encoder_state(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_every_form_gives_the_same_encoder(hf_dir: Path, tmp_path: Path):
    config, state = load_content_encoder_state(hf_dir)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected_content_shapes(config)
    raw = torch.load(hf_dir / "pytorch_model.bin", weights_only=True)
    prefixed = tmp_path / "prefixed"
    shutil.copytree(hf_dir, prefixed)
    torch.save({f"hubert.{name}": tensor for name, tensor in raw.items()}, prefixed / "pytorch_model.bin")
    single = tmp_path / "single.safetensors"
    save_safetensors(single, raw, {"anivoice": (hf_dir / "config.json").read_text()})
    (prefixed / "new").mkdir()
    newer = tmp_path / "newer"
    newer.mkdir()
    shutil.copy(hf_dir / "config.json", newer)
    save_safetensors(newer / "model.safetensors", reference_state(reference_model("two_layers"), new_spelling=True), {})
    for path in (prefixed, single, newer):
        other_config, other_state = load_content_encoder_state(path)
        assert other_config == config
        assert other_state.keys() == state.keys()
        for name, tensor in state.items():
            torch.testing.assert_close(other_state[name], tensor, atol=1e-6, rtol=1e-6)


def test_the_projection_is_optional(hf_dir: Path):
    state = torch.load(hf_dir / "pytorch_model.bin", weights_only=True)
    del state["final_proj.weight"], state["final_proj.bias"]
    torch.save(state, hf_dir / "pytorch_model.bin")
    config, loaded = load_content_encoder_state(hf_dir)
    assert config.proj_size is None
    assert "final_proj.weight" not in loaded


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"num_attention_heads": 5}, "heads"),
        ({"num_attention_heads": 10**9}, "num_attention_heads"),
        ({"num_attention_heads": "12"}, "num_attention_heads"),
        ({"num_hidden_layers": 3}, "layers"),
        ({"conv_stride": [5, 2]}, "conv_stride"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 10**9]}, "conv_stride"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 4]}, "every 320 samples"),
        ({"conv_stride": [2, 5, 2, 2, 2, 2, 2]}, "a frame of 400 samples"),
        ({"do_stable_layer_norm": True}, "do_stable_layer_norm"),
        ({"feat_extract_norm": "layer"}, "feat_extract_norm"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps"),
    ],
)
def test_wrong_settings_are_named(hf_dir: Path, changes: dict[str, object], word: str):
    settings = json.loads((hf_dir / "config.json").read_text())
    (hf_dir / "config.json").write_text(json.dumps({**settings, **changes}))
    assert word in _refusal(hf_dir)


@pytest.mark.parametrize(
    "name",
    ["encoder.layers.0.attention.k_proj.bias", "encoder.layers.0.layer_norm.weight",
     "encoder.pos_conv_embed.conv.weight_g",
     "feature_extractor.conv_layers.3.conv.weight", "feature_projection.projection.bias", "final_proj.bias"],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_damaged_tensors_are_refused(hf_dir: Path, name: str, damage: str):
    state = torch.load(hf_dir / "pytorch_model.bin", weights_only=True)
    if damage == "missing":
        del state[name]
    else:
        state[name] = torch.zeros(3, 3) if damage == "shape" else torch.full_like(state[name], float("nan"))
    torch.save(state, hf_dir / "pytorch_model.bin")
    _refusal(hf_dir)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_bad_config_files_are_refused(hf_dir: Path, text: str):
    (hf_dir / "config.json").write_text(text)
    assert "config" in _refusal(hf_dir)


def test_missing_files_are_named(hf_dir: Path, tmp_path: Path):
    (hf_dir / "pytorch_model.bin").unlink()
    assert "model.safetensors" in _refusal(hf_dir)
    (hf_dir / "config.json").unlink()
    _refusal(hf_dir)
    _refusal(tmp_path / "hubert_base.pt")
    bare = tmp_path / "bare.safetensors"
    save_safetensors(bare, {"x": torch.ones(1)}, {})
    assert "config" in _refusal(bare)


def test_fairseq_names():
    assert from_fairseq_name("layer_norm.weight") == "feature_projection.layer_norm.weight"
    assert from_fairseq_name("encoder.layer_norm.weight") == "encoder.layer_norm.weight"
    assert (
        from_fairseq_name("feature_extractor.conv_layers.0.2.bias") == "feature_extractor.conv_layers.0.layer_norm.bias"
    )
    assert from_fairseq_name("encoder.layers.11.self_attn.out_proj.bias") == "encoder.layers.11.attention.out_proj.bias"
    assert from_fairseq_name("encoder.layers.3.final_layer_norm.bias") == "encoder.layers.3.final_layer_norm.bias"

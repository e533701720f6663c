"""Files of the small content encoder load as what they were; everything wrong with one is said in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from models.small_encoders import ENCODER_ID, save_tiny_encoder, tiny_encoder

from anivoice.checkpoints.content_file import load_content_model
from anivoice.checkpoints.safe_tensors import load_safetensors, save_safetensors
from anivoice.errors import InvalidModelFile
from anivoice.models.small_encoder import SmallEncoder

Header = dict[str, object]
Change = Callable[[dict[str, torch.Tensor], Header], object]


def test_a_saved_encoder_is_loaded_with_its_id(tmp_path: Path) -> None:
    model = load_content_model(save_tiny_encoder(tmp_path / "e.safetensors"))
    assert isinstance(model, SmallEncoder)
    assert model.encoder_id == ENCODER_ID
    samples = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    expected = tiny_encoder()(samples, "v2")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(model(samples, "v2"), expected, atol=0.05, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["e.safetensors"]


def _set_config(name: str, value: object) -> Change:
    return lambda tensors, header: header["config"].update({name: value})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors, header: header.update(format=1), "its format is 1"),
        (lambda tensors, header: header.update(id=""), "by which id"),
        (lambda tensors, header: header.pop("config"), "sizes of the network"),
        (lambda tensors, header: tensors.pop("norm.weight"), "norm.weight"),
        (lambda tensors, header: tensors["norm.weight"].fill_(float("nan")), "no finite numbers"),
        (_set_config("width", 10**9), "between 1 and 4096"),
        (_set_config("width", True), "between 1 and 4096"),
        (_set_config("width", 17), "multiple of the 2 heads"),
        (_set_config("right_frames", 3), "list of numbers"),
        (_set_config("right_frames", [1, 9, 0]), "kernel"),
        (_set_config("num_phones", 800), "wider than the features"),
        (_set_config("ff_width", 32), "do not fit together"),
        (_set_config("more", 1), "sizes of the network"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: Change, reason: str) -> None:
    tensors, metadata = load_safetensors(save_tiny_encoder(tmp_path / "e.safetensors"))
    header = json.loads(metadata["anivoice"])
    change(tensors, header)
    save_safetensors(tmp_path / "bad.safetensors", tensors, {"anivoice": json.dumps(header)})
    with pytest.raises(InvalidModelFile, match=rf"^bad\.safetensors cannot be used as content encoder: .*{reason}"):
        load_content_model(tmp_path / "bad.safetensors")

"""The catalogue of the shared networks, and where the server looks for them."""

from pathlib import Path

import pytest

from anivoice.errors import NotFound
from anivoice.voices.assets import CATALOGUE, find_content_encoder, find_rmvpe, is_shared_file, select_assets


def test_real_catalogue_is_sound() -> None:
    files = [file for asset in CATALOGUE for file in asset.files]
    assert len({file.local_path for file in files}) == len(files)
    assert len({asset.name for asset in CATALOGUE}) == len(CATALOGUE)
    assert all(file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32 for file in files)
    assert [asset.name for asset in select_assets(["base/v2"])] == [
        f"base/v2/{stem}" for stem in ("G32k", "G40k", "G48k", "f0G32k", "f0G40k", "f0G48k")
    ]
    assert {asset.files[0].remote_path for asset in select_assets(["base/v1/f0G40k"])} == {"pretrained/f0G40k.pth"}
    assert len(select_assets(["base"])) == 12


def test_part_of_a_name_is_no_group() -> None:
    with pytest.raises(NotFound, match="'bas'"):
        select_assets(["bas"])


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (["contentvec/config.json", "contentvec/model.safetensors", "hubert_base.pt"], "contentvec"),
        (["contentvec/config.json", "hubert_base.pt"], "hubert_base.pt"),
        (["contentvec/pytorch_model.bin", "hubert_base.safetensors"], "hubert_base.safetensors"),
        (["content_encoder.safetensors"], "content_encoder.safetensors"),
        (["voice.pth"], None),
    ],
)
def test_content_encoder_places(tmp_path: Path, made: list[str], found: str | None) -> None:
    for name in made:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_content_encoder(tmp_path) == (None if found is None else tmp_path / found)


def test_rmvpe_places(tmp_path: Path) -> None:
    assert find_rmvpe(tmp_path) is None
    (tmp_path / "rmvpe.safetensors").touch()
    assert find_rmvpe(tmp_path) == tmp_path / "rmvpe.safetensors"


def test_shared_files_are_no_voices() -> None:
    shared = ["hubert_base.pt", "rmvpe.pt", "contentvec_768.safetensors", "RMVPE.safetensors", "hubert_base_ls960.pth"]
    shared += ["anivoice-content-2.safetensors"]
    assert all(is_shared_file(Path(name)) for name in shared)
    assert not any(is_shared_file(Path(name)) for name in ["anna.pth", "crepes_and_waffles.pth", "hubert.pth"])

"""A voice is heard through the content encoder that it was made for, and any other is refused by name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints.voices import SMALL, export
from models.small_encoders import ENCODER_ID, save_tiny_encoder

from anivoice.errors import InvalidModelFile, MissingAsset
from anivoice.models.small_encoder import SmallEncoder
from anivoice.voices.cache import VoiceCache
from anivoice.voices.library import VoiceLibrary
from anivoice.voices.voice import Voice

CONFIG = replace(SMALL, version="v2")


@pytest.fixture
def weights(tmp_path: Path, h768_hf_dir: Path) -> Path:
    """ContentVec's kind, an embedded encoder, a community voice, and one made for the embedded encoder."""
    shutil.copytree(h768_hf_dir, tmp_path / "contentvec")
    save_tiny_encoder(tmp_path / f"{ENCODER_ID}.safetensors")
    torch.save(export(CONFIG), tmp_path / "community.pth")
    torch.save(export(CONFIG, embedder_model=ENCODER_ID), tmp_path / "embedded.pth")
    return tmp_path


def _acquire(weights: Path, name: str) -> Voice:
    return VoiceCache(VoiceLibrary(weights), 2**30).acquire(name, False)


def test_each_voice_gets_its_own(weights: Path) -> None:
    assert VoiceLibrary(weights).names() == ["community", "embedded"]
    encoder = _acquire(weights, "embedded").encoder.model
    assert isinstance(encoder, SmallEncoder)
    assert encoder.encoder_id == ENCODER_ID
    assert _acquire(weights, "community").encoder.path == weights / "contentvec"


def test_an_embedded_encoder_in_the_usual_place_is_refused_for_a_community_voice(weights: Path) -> None:
    shutil.rmtree(weights / "contentvec")
    (weights / f"{ENCODER_ID}.safetensors").rename(weights / "content_encoder.safetensors")
    with pytest.raises(InvalidModelFile, match=rf"'community' was made for .*'contentvec', but .* is '{ENCODER_ID}'"):
        _acquire(weights, "community")


def test_settings_cannot_give_a_community_voice_the_embedded_encoder(weights: Path) -> None:
    (weights / "community.json").write_text(json.dumps({"embedder_model": ENCODER_ID}))
    with pytest.raises(InvalidModelFile, match=rf"'contentvec', and its features are not those of '{ENCODER_ID}'"):
        _acquire(weights, "community")


def test_settings_cannot_give_the_embedded_voice_contentvec(weights: Path) -> None:
    (weights / "embedded.json").write_text(json.dumps({"embedder_model": "contentvec"}))
    with pytest.raises(InvalidModelFile, match=rf"'{ENCODER_ID}', and its features are not those of 'contentvec'"):
        _acquire(weights, "embedded")


def test_contentvec_under_the_embedded_encoders_name_is_refused(weights: Path) -> None:
    (weights / f"{ENCODER_ID}.safetensors").unlink()
    shutil.copytree(weights / "contentvec", weights / ENCODER_ID)
    with pytest.raises(InvalidModelFile, match=rf"'embedded' was made for .*'{ENCODER_ID}', but .* of the kind of"):
        _acquire(weights, "embedded")


def test_another_embedded_encoder_is_refused(weights: Path) -> None:
    save_tiny_encoder(weights / f"{ENCODER_ID}.safetensors", "anivoice-content-other")
    with pytest.raises(InvalidModelFile, match=rf"'{ENCODER_ID}', but .* is 'anivoice-content-other'"):
        _acquire(weights, "embedded")


def test_a_missing_embedded_encoder_is_named(weights: Path) -> None:
    (weights / f"{ENCODER_ID}.safetensors").unlink()
    with pytest.raises(MissingAsset, match=rf"'{ENCODER_ID}'.*put the file {ENCODER_ID}\.safetensors"):
        _acquire(weights, "embedded")

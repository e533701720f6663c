"""The voices among the golden vectors load, with the configs their side files give."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anivoice.checkpoints.voice_config_values import config_from_values
from anivoice.checkpoints.voice_file import load_voice_file, save_voice_safetensors
from anivoice.checkpoints.voice_layout import expected_shapes
from anivoice.errors import InvalidModelFile


def _side(path: Path) -> dict[str, object]:
    return json.loads(path.with_suffix(".json").read_text())


def _pth_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.pth"))
    assert files
    return files


def test_every_voice_loads_conformance(conformance_dir: Path, tmp_path: Path):
    for path in _pth_files(conformance_dir / "synth"):
        voice = load_voice_file(path)
        expected = expected_shapes(voice.config)
        assert {name: tuple(tensor.shape) for name, tensor in voice.state.items()} == expected, path.name
        assert voice.config.sample_rate_hz == 100 * voice.config.frame_samples
        copy = tmp_path / "copy.safetensors"
        save_voice_safetensors(copy, voice)
        again = load_voice_file(copy)
        assert (again.config, again.info) == (voice.config, voice.info)
        assert all(torch.equal(again.state[name], tensor) for name, tensor in voice.state.items())


def test_configs_are_those_of_the_side_files_conformance(conformance_dir: Path):
    num_compared = 0
    for path in _pth_files(conformance_dir / "synth"):
        if not path.with_suffix(".json").exists() or "config" not in _side(path):
            continue
        voice = load_voice_file(path).config
        stated = config_from_values(
            _side(path)["config"],
            version=voice.version,
            has_f0=voice.has_f0,
            num_speakers=voice.num_speakers,
            vocoder=voice.vocoder,
        )
        assert voice == stated, path.name
        num_compared += 1
    assert num_compared


def test_base_generators_are_inferred_conformance(conformance_dir: Path):
    for path in _pth_files(conformance_dir / "base"):
        side, voice = _side(path), load_voice_file(path)
        stated = config_from_values(
            side["true_config"],
            version=side["version"],
            has_f0=bool(side["f0"]),
            num_speakers=voice.config.num_speakers,
            vocoder="HiFi-GAN",
        )
        assert voice.config == stated, path.name
        assert voice.state.keys() == expected_shapes(stated).keys()


def test_both_weight_norm_spellings_give_the_same_weights_conformance(conformance_dir: Path):
    for path in sorted((conformance_dir / "synth").glob("*_applio_parametrized.pth")):
        new = load_voice_file(path)
        old = load_voice_file(path.with_name(path.name.replace("_applio_parametrized", "")))
        assert replace(new.config) == old.config
        assert all(torch.equal(new.state[name], tensor) for name, tensor in old.state.items())
        assert new.embedder_model


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_voices_are_refused_conformance(conformance_dir: Path, tmp_path: Path, fraction: float):
    for path in _pth_files(conformance_dir / "synth")[:3]:
        data = path.read_bytes()
        damaged = tmp_path / path.name
        damaged.write_bytes(data[: int(len(data) * fraction)])
        with pytest.raises(InvalidModelFile, match=path.name):
            load_voice_file(damaged)


def test_voices_with_flipped_bytes_load_or_are_refused_conformance(conformance_dir: Path, tmp_path: Path):
    path = _pth_files(conformance_dir / "synth")[0]
    data = path.read_bytes()
    damaged = tmp_path / path.name
    for step in range(60):
        position = (step * step * 7919) % len(data) if step % 2 else (step * 613) % 20_000
        damaged.write_bytes(data[:position] + bytes([data[position] ^ (1 + step * 4 % 255)]) + data[position + 1 :])
        try:
            load_voice_file(damaged)
        except InvalidModelFile as error:
            assert path.name in str(error)  # noqa: PT017

"""`anivoice bench voice` from files to the table, with stand-ins for the two experts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conformance import OWN_VECTORS as VECTORS

from anivoice.bench import voice
from anivoice.commands.main import main


class Speakers:
    """Knows two speakers: those of low and of high zero-crossing rates."""

    @classmethod
    def load(cls) -> "Speakers":
        return cls()

    def embed(self, samples: np.ndarray) -> np.ndarray:
        high = np.mean(np.diff(np.signbit(samples))) > 0.1
        return np.array([float(high), float(not high)], np.float32)


class Recogniser:
    """Hears one word in everything."""

    def words(self, samples: np.ndarray) -> list[str]:
        assert samples.dtype == np.float32
        return ["word"]


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copytree(VECTORS / "hubert" / "tiny12_hf_safetensors", weights / "contentvec")
    shutil.copy(VECTORS / "synth" / "v1_f0_40k.pth", weights / "alice.pth")
    monkeypatch.setattr(voice, "SpeakerEncoder", Speakers)
    monkeypatch.setitem(voice.RECOGNISERS, "pocketsphinx", Recogniser)
    samples, _ = soundfile.read(VECTORS / "audio" / "speech_short_16k.wav")
    t = np.arange(16000) / 16000
    clips = {"target": 0.1 * np.sin(2 * np.pi * 440 * t), "low": samples[:16000]}
    for name, clip in clips.items():
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", clip, 16000)
        (tmp_path / name / "a.txt").write_text("Word.")
    order = ["--target", str(tmp_path / "target"), "--set", f"low={tmp_path / 'low'}", "--weights-dir", str(weights)]
    return [
        "bench",
        "voice",
        *order,
        "--device",
        "cpu",
        "--threads",
        "1",
        "--pitch-extraction-algo",
        "pm",
        "--judge-pitch",
        "pm",
    ]


def figures(arguments: list[str], tmp_path: Path) -> dict[str, dict[str, float]]:
    assert main([*arguments, "--json", str(tmp_path / "report.json")]) == 0
    report: dict[str, dict[str, float]] = json.loads((tmp_path / "report.json").read_text())["sets"]
    return report


def test_the_floor_is_the_source_itself(sets: list[str], tmp_path: Path) -> None:
    report = figures([*sets, "--floor"], tmp_path)
    assert report.keys() == {"target", "low"}
    assert report["target"]["cosine_made_target"] == 1
    assert report["target"]["mel_db"] == 0
    assert report["low"]["word_errors_made"] == report["low"]["word_errors_source"] == 0
    assert report["low"]["f0_median_cents"] == 0
    assert report["low"]["voiced_agreement"] == 1


@pytest.mark.parametrize("path", ["file", "streamed"])
def test_a_voice_is_judged(sets: list[str], tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    options = ["--keep", str(kept), *(["--streamed"] if path == "streamed" else [])]
    report = figures([*sets, *options], tmp_path)
    assert f"{path} path" in capsys.readouterr().out
    low = report["low"]
    assert low["utterances"] == low["words"] == 1
    assert low["semitones"] > 0
    assert low["real_time_factor"] > 0
    assert report["target"]["mel_db"] > 1
    made, rate_hz = soundfile.read(kept / "low" / "a.wav")
    assert len(made) == rate_hz
    assert np.isfinite(made).all()

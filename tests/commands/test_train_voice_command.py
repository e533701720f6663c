"""`anivoice train voice` from recordings to a voice that converts."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from anivoice.commands.main import main
from anivoice.commands.train_voice import _latent_steps
from anivoice.training.voice_trainer import TrainingPlan
from anivoice.voices.assets import EMBEDDED_VOICE


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    t = np.arange(22 * 32000) / 32000
    wave = sum(np.sin(2 * np.pi * 140 * h * t) / h for h in range(1, 30)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    soundfile.write(folder / "take.wav", 0.1 * wave, 32000)
    return folder


def test_from_recordings_to_a_conversion(
    recordings: Path, h768_hf_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, work = tmp_path / "weights", tmp_path / "work"
    weights.mkdir()
    (weights / "my-encoder").symlink_to(h768_hf_dir)
    order = ["train", "voice", str(recordings), "buzz", "--weights-dir", str(weights), "--work", str(work)]
    order += ["--encoder", str(weights / "my-encoder"), "--pitch-extraction-algo", "pm", "--steps", "1"]
    order += ["--warps", "1.1"]
    order += ["--batch-size", "1", "--device", "cpu", "--index-vectors", "50", "--precision", "bf16"]
    assert main(order) == 0
    assert sorted(path.name for path in weights.iterdir()) == ["buzz.index", "buzz.pth", "my-encoder"]
    assert torch.load(weights / "buzz.pth", weights_only=True)["embedder_model"] == "my-encoder"
    assert "only 2" in capsys.readouterr().out
    out = tmp_path / "out.wav"
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, soundfile.read(recordings / "take.wav")[0][:16000], 32000)
    convert = ["convert", str(clip), str(out), "--weights-dir", str(weights), "--pitch-extraction-algo", "pm"]
    assert main([*convert, "--device", "cpu", "--index-rate", "0.5", "--quiet"]) == 0
    assert soundfile.info(out).frames == 16000
    # Going on from that voice takes its encoder without being told.
    again = ["train", "voice", str(recordings), "second", "--base", "buzz", "--weights-dir", str(weights)]
    again += [
        "--warps",
        "--work",
        str(tmp_path / "work2"),
        "--pitch-extraction-algo",
        "pm",
        "--steps",
        "1",
        "--batch-size",
        "1",
    ]
    assert main([*again, "--device", "cpu"]) == 0
    assert torch.load(weights / "second.pth", weights_only=True)["embedder_model"] == "my-encoder"


def test_the_embedded_voice_is_the_base_where_it_is_installed(
    recordings: Path, h768_hf_dir: Path, tmp_path: Path
) -> None:
    from toy_voice import TINY

    from anivoice.training.voice_export import export_voice
    from anivoice.training.voice_network import new_synthesizer

    (tmp_path / "my-encoder").symlink_to(h768_hf_dir)
    state = new_synthesizer(TINY, "mel").state_dict()
    export_voice(tmp_path / f"{EMBEDDED_VOICE}.pth", TINY, state, "mel", "my-encoder", {"step": 0})
    order = ["train", "voice", str(recordings), "mine", "--weights-dir", str(tmp_path), "--work", str(tmp_path / "w")]
    order += ["--pitch-extraction-algo", "pm", "--steps", "1", "--batch-size", "1", "--warps", "--device", "cpu"]
    assert main(order) == 0
    assert torch.load(tmp_path / "mine.pth", weights_only=True)["config"][2] == TINY.inter_channels


@pytest.mark.parametrize(
    ("asked", "recipe", "size", "decoder_only", "steps"),
    [
        (None, "mel", None, False, 20),
        (None, "mel", "small", False, 0),
        (None, "mel", None, True, 0),
        (None, "vits", None, False, 0),
        (7, "vits", None, False, 7),
    ],
)
def test_the_text_encoder_begins_alone_where_the_base_is_a_small_voice(
    asked: int | None, recipe: str, size: str | None, decoder_only: bool, steps: int
) -> None:
    plan = TrainingPlan(num_steps=60, decoder_only=decoder_only)
    order = SimpleNamespace(latent_steps=asked, size=size, plan=plan)
    assert _latent_steps(order, SimpleNamespace(recipe=recipe)) == steps


def test_wrong_usage_is_told(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["train", "voice", str(recordings), "x", "--weights-dir", str(tmp_path), "--device", "cpu"]
    assert main([*common, "--size", "huge"]) == 2
    assert "--size 'huge' is none of small" in capsys.readouterr().err
    assert main([*common, "--encoder", str(tmp_path / "none")]) == 2
    assert "--encoder: there is no file" in capsys.readouterr().err
    assert main(common) == 1
    assert "content encoder is missing" in capsys.readouterr().err

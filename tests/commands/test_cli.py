"""The command line, as a user calls it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conformance import OWN_VECTORS as VECTORS

from anivoice.commands.main import build_parser, main
from anivoice.commands.options import format_default
from anivoice.config import Settings

CASES = Path(__file__).parents[1] / "data" / "cases"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copytree(VECTORS / "hubert" / "tiny12_hf_safetensors", folder / "contentvec")
    shutil.copy(VECTORS / "synth" / "v1_f0_40k.pth", folder / "alice.pth")
    monkeypatch.setenv("ANIVOICE_WEIGHTS_DIR", str(folder))
    monkeypatch.setenv("ANIVOICE_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    samples, _ = soundfile.read(VECTORS / "audio" / "speech_short_16k.wav")
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", samples[:16000], 16000)
    soundfile.write(folder.parent / "b.flac", samples[16000:], 16000)
    (folder / "notes.txt").write_text("no audio")
    return folder / "a.wav"


def test_every_setting_is_an_option_of_serve() -> None:
    options = build_parser().parse_args(["serve"])
    assert Settings.model_fields.keys() <= vars(options).keys()


def test_serve_says_every_default(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    told = {option.split()[0]: option.strip() for option in capsys.readouterr().out.split("\n  --")[1:]}
    assert told["max-message-kb"].endswith("(16384)")
    for name, field in Settings.model_fields.items():
        default = format_default(field.default)
        assert default is None or told[name.replace("_", "-")].endswith(f"({default})"), name


def test_convert_a_file(weights: Path, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.flac"
    arguments = ["convert", str(speech), str(out), "--pitch-extraction-algo", "pm", "--seed", "1", "--quiet"]
    assert main(arguments) == 0
    samples, rate_hz = soundfile.read(out)
    assert (len(samples), rate_hz) == (40000, 40000)
    assert soundfile.info(out).format == "FLAC"
    assert "voice alice, pitch pm, seed 1" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert np.array_equal(soundfile.read(out)[0], samples)


def test_a_folder_that_cannot_be_made_and_raw_bytes_fail_alone(
    weights: Path, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("in the way")
    arguments = ["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--pitch-extraction-algo", "pm", "--quiet"]
    assert main(arguments) == 1
    assert "1 of 2 files converted" in capsys.readouterr().err
    raw = tmp_path / "speech.raw"
    raw.write_bytes(bytes(32000))
    assert main(["convert", str(raw), str(tmp_path / "raw.wav"), "--pitch-extraction-algo", "pm", "--quiet"]) == 1
    assert "not audio that can be decoded" in capsys.readouterr().err


def test_mp3_of_a_voice_whose_rate_mp3_does_not_know(weights: Path, speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp3"
    assert main(["convert", str(speech), str(out), "--pitch-extraction-algo", "pm", "--quiet"]) == 0
    assert soundfile.info(out).samplerate == 44100


def test_convert_a_folder(weights: Path, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (speech.parent / "broken.wav").write_bytes(b"RIFF nothing")
    arguments = ["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--pitch-extraction-algo", "pm", "--quiet"]
    assert main([*arguments, "--output-sample-rate", "16000"]) == 1
    told = capsys.readouterr().err
    assert "broken.wav" in told
    assert "2 of 3 files converted" in told
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == ["b.wav", str(Path("deep") / "a.wav")]
    assert soundfile.info(tmp_path / "out" / "b.wav").samplerate == 16000


def test_recordings_of_phones_and_browsers_and_two_of_one_stem_are_converted(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "from people", tmp_path / "out"
    folder.mkdir()
    for source, name in (("a.m4a", "[x].M4A"), ("a.webm", "x.webm"), ("pipe.flac", "x.flac"), ("size0.wav", "y.wav")):
        (folder / name).write_bytes((CASES / source).read_bytes())
    arguments = ["--pitch-extraction-algo", "pm", "--index-rate", "0.5"]
    assert main(["convert", str(folder), str(out), *arguments]) == 0
    told = capsys.readouterr().err
    assert "x.flac: its result is called x.flac.wav" in told
    assert "x.webm: its result is called x.webm.wav" in told
    assert "has no index: index_rate 0.5 does nothing" in told
    assert "[x].M4A" in told
    assert sorted(path.name for path in out.iterdir()) == ["[x].wav", "x.flac.wav", "x.webm.wav", "y.wav"]
    assert soundfile.info(out / "y.wav").duration == pytest.approx(20000 / 44100, abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["convert", "none.wav", "out.wav"], "no file or folder none.wav"),
        (["convert", ".", "out", "--pitch-change", "99"], "pitch_change"),
        (["convert", "weights", "out"], "no audio files"),
        (["bench", "convert", "--synthetic", "v3-96k"], "v3-96k"),
        (["serve", "--port", "http"], "ANIVOICE_PORT / --port"),
        (["serve", "--device", "cuda", "--gpu-index", "999"], ""),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    weights: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(arguments) in (1, 2)
    error = capsys.readouterr().err.strip()
    assert error.startswith("anivoice: ")
    assert told in error
    assert "\n" not in error


def test_a_missing_method_is_never_replaced(
    weights: Path, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", str(speech), str(tmp_path / "o.wav"), "--pitch-extraction-algo", "rmvpe"]
    assert main(arguments) == 1
    assert "anivoice fetch rmvpe" in capsys.readouterr().err
    assert not (tmp_path / "o.wav").exists()


def test_voices_as_table_and_json(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["voices", "--json"]) == 0
    (voice,) = json.loads(capsys.readouterr().out)["voices"]
    assert (voice["name"], voice["version"], voice["sample_rate_hz"], voice["num_speakers"]) == (
        "alice",
        "v1",
        40000,
        3,
    )
    (weights / "broken.pth").write_bytes(b"nothing")
    assert main(["voices"]) == 1
    out = capsys.readouterr().out
    assert "alice" in out
    assert "broken" in out


def test_voices_says_which_index_and_why_and_what_is_no_voice(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(weights / "alice.pth", weights / "[bold]Joanna[/]_e200_s4000.pth".replace("/", ""))
    shutil.copy(
        VECTORS / "retrieval" / "added_v1_256.index", weights / "added_IVF20_Flat_nprobe_1_[bold]Joanna[]_v1.index"
    )
    (weights / "D_2333333.pth").write_bytes(b"x")
    assert main(["voices"]) == 0
    out = capsys.readouterr().out
    assert "[bold]Joanna[]_e200_s4000 uses added_IVF20_Flat_nprobe_1_[bold]Joanna[]_v1.index: its name says" in out
    assert "not a voice: D_2333333.pth: it is the half of a training that judges" in out
    assert main(["voices", "--json"]) == 0
    assert [one["file"] for one in json.loads(capsys.readouterr().out)["unlisted"]] == ["D_2333333.pth"]


def test_no_voices_is_told(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights / "alice.pth").unlink()
    assert main(["voices"]) == 0
    assert "No voices yet" in capsys.readouterr().out

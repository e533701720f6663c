"""The voice in the box comes along into the user's folder, and only where there is no weights/."""

from pathlib import Path

import pytest

from anivoice.commands.main import main
from anivoice.config import load_settings
from anivoice.voices.box import box_files, unpack_box, user_weights_dir
from anivoice.voices.library import VoiceLibrary


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_DATA_HOME", "HOME", "LOCALAPPDATA", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_without_weights_the_users_folder_is_used(empty_folder: Path) -> None:
    assert load_settings(env_file=None).weights_dir == user_weights_dir()
    (empty_folder / "weights").mkdir()
    assert load_settings(env_file=None).weights_dir == Path("weights")


def test_what_is_said_is_used(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings({"weights_dir": "weights"}, env_file=None).weights_dir == Path("weights")
    monkeypatch.setenv("ANIVOICE_WEIGHTS_DIR", "voices")
    assert load_settings(env_file=None).weights_dir == Path("voices")


def test_an_empty_folder_has_the_voice_in_the_box(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["voices"]) == 0
    assert "anivoice-slt" in capsys.readouterr().out
    assert VoiceLibrary(user_weights_dir()).default_name() == "anivoice-slt"
    assert list(empty_folder.iterdir()) == []


def test_what_an_older_version_left_is_renewed_and_voices_of_ones_own_stay(tmp_path: Path) -> None:
    (tmp_path / "anivoice-slt.pth").write_bytes(b"older")
    (tmp_path / "alice.pth").write_bytes(b"mine")
    unpack_box(tmp_path)
    voice = next(path for path in box_files() if path.name == "anivoice-slt.pth")
    assert (tmp_path / "anivoice-slt.pth").read_bytes() == voice.read_bytes()
    assert (tmp_path / "alice.pth").read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {"alice.pth", *(path.name for path in box_files())}

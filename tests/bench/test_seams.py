"""The measures of `anivoice bench seams` on sounds whose answer is known, and the command on a small voice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conformance import OWN_VECTORS

from anivoice.bench.seam_measures import lag_ms, mel_distance_db, share_within_cents
from anivoice.bench.seams import sound
from anivoice.commands.main import main


@pytest.mark.parametrize("late_samples", [0, 16, 320])
def test_lag(late_samples: int) -> None:
    samples = sound("speech", 1.0)
    late = np.concatenate([np.zeros(late_samples, np.float32), samples])
    assert lag_ms(late, samples, 16000) == pytest.approx(late_samples / 16)


def test_mel_distance_is_in_decibels() -> None:
    samples = np.random.default_rng(1).standard_normal(32000).astype(np.float32)
    assert mel_distance_db(samples, samples, 16000) == 0
    assert mel_distance_db(samples, 2 * samples, 16000) == pytest.approx(20 * np.log10(2), abs=0.01)


def test_close_contours() -> None:
    wanted = np.array([0, 100, 100, 100, 100], np.float32)
    heard = np.array([50, 100 * 2 ** (9 / 1200), 100 * 2 ** (-11 / 1200), 0, np.nan], np.float32)
    assert share_within_cents(heard, wanted, 10) == 0.25
    assert share_within_cents(heard, np.zeros(5, np.float32), 10) == 1.0


def test_command(tmp_path: Path, h768_hf_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(h768_hf_dir, weights / "hubert_base")
    shutil.copy(OWN_VECTORS / "synth" / "v2_f0_32k.pth", weights / "small.pth")
    report = tmp_path / "report.json"
    argv = ["bench", "seams", "--model-name", "small", "--weights-dir", str(weights), "--presets", "quality"]
    assert main([*argv, "--sounds", "speech", "--seconds", "1.5", "--threads", "1", "--json", str(report)]) == 0
    (row,) = json.loads(report.read_text())["rows"]
    assert (row["sound"], row["preset"], row["lag_ms"]) == ("speech", "quality", 0)
    assert row["f0_close"] >= 0.95
    assert "speech" in capsys.readouterr().out


@pytest.mark.parametrize(("given", "told"), [(["--sounds", "scream"], "scream"), (["--seconds", "0.1"], "--seconds")])
def test_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, given: list[str], told: str) -> None:
    monkeypatch.setattr("anivoice.bench.seams.synthetic_runtime", lambda *_: pytest.fail("measured nonetheless"))
    assert main(["bench", "seams", *given]) == 2
    assert told in capsys.readouterr().err

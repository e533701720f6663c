"""The benchmarks that compare with plain eager forms, on small networks."""

import json
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from anivoice.bench.block import difference_db, timed
from anivoice.commands.main import main
from anivoice.models.hubert import HubertConfig
from anivoice.models.rmvpe_unet import RmvpeConfig
from anivoice.models.voice_config import VoiceConfig


@pytest.fixture(autouse=True)
def small_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_voice = VoiceConfig(
        "v2", True, 8, 12, 16, 2, 1, 3, "1", (3, 7), ((1, 3), (1, 3)), (12, 10, 2, 2), 32, (24, 20, 4, 4), 2, 4, 48000
    )
    small_hubert = HubertConfig((8,) * 7, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 768, 16, 1, 12, 16, 48)
    monkeypatch.setattr("anivoice.bench.synthetic.full_size_config", lambda _: small_voice)
    monkeypatch.setattr("anivoice.bench.synthetic.HUBERT_BASE", small_hubert)
    small_rmvpe = RmvpeConfig(num_blocks=1, num_intermediate=1, first_channels=2)
    monkeypatch.setattr("anivoice.bench.synthetic.RmvpeConfig", lambda: small_rmvpe)
    monkeypatch.setenv("ANIVOICE_THREADS", "1")
    monkeypatch.chdir(tmp_path)


def test_a_file_is_compared_with_the_straightforward_form() -> None:
    assert main(["bench", "convert", "--seconds", "1.2", "--repeat", "1", "--json", "figures.json"]) == 0
    figures = json.loads(Path("figures.json").read_text())
    assert figures["max_difference"] < 1e-3
    assert figures["times_faster"] > 0
    assert {"content", "pitch", "prior", "flow", "decoder", "files"} <= figures["stages_s"].keys()
    assert figures["real_time_factor"] == pytest.approx(figures["wall_s"] / 1.2)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_block_is_compared_with_its_whole_window(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = ["--preset", "quality", "--block-ms", "200", "--context-ms", "400"]
    assert main(["bench", "block", *lengths, "--blocks", "2", "--threads", threads, "--json", "figures.json"]) == 0
    figures = json.loads(Path("figures.json").read_text())
    assert (figures["block_ms"], figures["decoded_ms"], figures["blocks"]) == (200, 250, 2)
    assert figures["difference_db"] < -40
    assert figures["times_faster"] > 0
    stages = {"content", "pitch", "prior", "flow", "decoder", "all"}
    assert stages <= figures["ours_ms"].keys()
    assert stages == figures["plain_ms"].keys()
    assert "times faster" in capsys.readouterr().out


def test_a_stage_gets_the_time_of_its_steps_and_the_last_one_the_rest() -> None:
    def steps() -> Generator[str, None, str]:
        yield "content"
        np.random.default_rng(0).standard_normal(10**6)
        yield "pitch"
        yield "content"
        return "done"

    result, cost = timed(steps())
    assert result == "done"
    assert cost.wall_s.keys() == cost.cpu_s.keys() == {"content", "pitch"}
    assert cost.wall_s["pitch"] > cost.wall_s["content"] > 0


def test_the_difference_is_relative_to_the_signal() -> None:
    signal = np.ones(100, np.float32)
    assert difference_db(1.1 * signal, signal) == pytest.approx(-20, abs=1e-3)

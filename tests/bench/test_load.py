"""The load tests: their bookkeeping, and the whole server around an engine that copies."""

import json
import shutil

import numpy as np
import pytest
from conformance import OWN_VECTORS

from anivoice.bench.live import is_within, search_largest
from anivoice.bench.overhead import VOICE_NAME, copied, copy_runtime
from anivoice.bench.probe import RecordingAdmission, RecordingTimes, StageTimes
from anivoice.commands.main import main
from anivoice.engine.batch import WindowRequest
from anivoice.errors import NotFound
from anivoice.frames import WindowLayout


def test_overhead_of_a_real_server(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--sessions", "2", "--seconds", "0.8", "--block-ms", "80", "--mode", "reliable", "--json", "out.json"]
    assert main(["bench", "overhead", *options]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    clients, server = report["clients"], report["server"]
    assert clients["connected"] == 2
    assert clients["failed"] == 0
    assert clients["samples_missing"] == 0
    assert clients["messages"] > 4
    assert clients["promised_ms"]["block"] == 80
    assert clients["presets"] == {"balanced": 2}
    assert clients["delay_ms"]["p50"] > 80
    assert server["blocks"]["converted"] > 4
    assert server["blocks"]["failed"] == 0
    assert server["server_block_ms"]["p50"] >= server["engine_ms"]["p50"] > 0
    assert server["stages_ms"]["copy"]["p50"] > 0
    assert server["loop_lag_ms"]["p99"] >= 0
    assert server["cpu_ms_per_block"] > 0
    assert report["parameters"] == {"block_ms": 80, "mode": "reliable"}
    shown = capsys.readouterr().out
    assert "server: block in to block out" in shown
    assert "2 of 2 sessions" in shown


def test_streams_beside_a_file(tmp_path, monkeypatch, capsys, h768_hf_dir):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(h768_hf_dir, tmp_path / "weights" / "hubert_base")
    shutil.copy(OWN_VECTORS / "synth" / "v2_f0_32k.pth", tmp_path / "weights" / "small.pth")
    options = ["--model-name", "small", "--pitch-extraction-algo", "pm", "--mode", "reliable", "--threads", "1"]
    measured = ["--beside-file", "4", "--seconds", "1", "--json", "out.json"]
    assert main(["bench", "live", *options, *measured]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["clients"]["connected"] == 1
    assert report["alone_block_ms"]["p99"] > 0
    assert report["server"]["server_block_ms"]["p99"] > 0
    assert report["server"]["stages_ms"]["decoder"]["p50"] > 0
    assert "the same without files" in capsys.readouterr().out


def test_a_file_that_is_refused_is_told(tmp_path, monkeypatch, capsys, h768_hf_dir):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(h768_hf_dir, tmp_path / "weights" / "hubert_base")
    shutil.copy(OWN_VECTORS / "synth" / "v2_f0_32k.pth", tmp_path / "weights" / "small.pth")
    monkeypatch.setenv("ANIVOICE_MAX_AUDIO_SECONDS", "2")
    options = ["--model-name", "small", "--pitch-extraction-algo", "pm", "--mode", "reliable", "--threads", "1"]
    assert main(["bench", "live", *options, "--beside-file", "4", "--seconds", "1"]) != 0
    assert "the file was not converted: POST /convert: 413" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["overhead", "--sessions", "0"], "--sessions"),
        (["overhead", "--seconds", "0"], "--seconds"),
        (["overhead", "--block-ms", "7"], "block_ms"),
        (["live", "--voices", "0"], "--voices"),
        (["live", "--synthetic", "v3-96k"], "v3-96k"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("capacity", [0, 1, 2, 3, 5, 7, 8, 15])
@pytest.mark.parametrize("start", [1, 4])
def test_the_largest_load_is_found(capacity, start):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= capacity

    assert search_largest(fits, start, 1000) == capacity
    assert len(tried) == len(set(tried))
    assert len(tried) <= 8


def test_a_large_capacity_is_found_to_a_sixteenth():
    assert 190 <= search_largest(lambda number: number <= 200, 1, 1000) <= 200
    assert 94 <= search_largest(lambda number: True, 1, 100) <= 100


def figures(p99_ms=70.0, failed=0, dropped=0, **blocks):
    server = {"blocks": {"dropped": 0, "late": 0, "failed": 0} | blocks, "server_block_ms": {"p99": p99_ms}}
    clients = {"failed": failed, "dropped_blocks": dropped, "promised_ms": {"block": 80.0}}
    return {"server": server, "clients": clients}


def test_what_counts_as_fitting():
    assert is_within(figures())
    assert not is_within(figures(p99_ms=81))
    assert not is_within(figures(failed=1))
    assert not is_within(figures(dropped=1))
    assert not is_within(figures(late=1))


def test_stage_times_are_kept_by_batch():
    stages = StageTimes()
    for _ in range(2):
        stages["pitch"] += 0.25
        stages["decoder"] += 0.5
        stages["decoder"] += 0.5
        stages["waiting"] += 0.125
        stages["result"] += 0.0
    assert stages["decoder"] == 2.0
    assert stages.batches[1] == {"pitch": 0.25, "decoder": 1.0, "waiting": 0.125, "result": 0.0}
    assert list(stages.figures()) == ["decoder", "pitch", "result"]
    assert stages.figures()["decoder"]["p99"] == pytest.approx(1000)


def test_recorders_pass_on_what_they_keep():
    recorder = RecordingTimes("seconds", "text")
    recorder.observe(0.5)
    recorder.observe(0.001)
    assert recorder.values == [0.5, 0.001]
    buckets = {sample.labels.get("le"): sample.value for sample in recorder.family().samples}
    assert (buckets["0.002"], buckets["0.25"], buckets["0.5"], buckets["+Inf"]) == (1, 1, 2, 2)
    admission = RecordingAdmission(float("inf"))
    admission.observe("kind", 3.0, 6.0)
    assert admission.batches_s == [6.0]
    assert admission.admit(1.0, "kind") is None


def test_the_copying_engine_gives_back_what_it_gets(tmp_path):
    runtime = copy_runtime(tmp_path)
    assert runtime.library.names() == [VOICE_NAME] == [runtime.library.default_name()]
    with pytest.raises(NotFound, match=VOICE_NAME):
        runtime.library.find("other")
    samples = np.arange(20 * 160, dtype=np.float32)
    with runtime.voices.using(VOICE_NAME, with_index=False) as voice:
        request = WindowRequest(
            voice=voice,
            layout=WindowLayout(4, 4, 4, 8),
            samples=samples,
            window_frame=0,
            f0_known_hz=np.zeros(20, np.float32),
            num_known_frames=0,
            initial_phase=0.25,
        )
        result = copied(request)
    assert result.next_phase == 0.25
    np.testing.assert_array_equal(result.waveform[::3], samples[4 * 160 : 12 * 160])

"""`anivoice stream`, against the stand-in."""

import asyncio
import shutil
import urllib.request

import numpy as np
import pytest
import soundfile
from conformance import OWN_VECTORS

from anivoice.commands.main import main
from anivoice.config import load_settings
from anivoice.parameters import ConversionParameters
from anivoice.server.background import BackgroundServer


@pytest.fixture
def tone(tmp_path):
    samples = np.sin(np.arange(8000) / 10)[:, None] * [0.5, 0.25]
    soundfile.write(tmp_path / "in.wav", samples, 16000, "FLOAT")
    return tmp_path / "in.wav"


async def run(*arguments):
    return await asyncio.to_thread(main, ["stream", *map(str, arguments)])


@pytest.mark.parametrize("pace", ["fast", "realtime"])
async def test_a_file_goes_out_and_comes_back(echo, tone, tmp_path, capsys, pace):
    out = tmp_path / "deep" / "out.flac"
    options = ["--pitch-change", "3", "--preset", "low", "--mute", "--quiet", "--api-key", "long-enough"]
    assert await run(tone, out, "--pace", pace, "--url", echo.url, *options) == 0
    samples, rate_hz = soundfile.read(out)
    assert rate_hz == 16000
    np.testing.assert_allclose(samples, 0.375 * np.sin(np.arange(8000) / 10), atol=1e-3)
    assert echo.authorization == "Bearer long-enough"
    mode = "reliable" if pace == "fast" else "live"
    expected = {"events": True, "mode": mode, "sample_rate": 16000, "format": "pcm_f32le", "preset": "low"}
    assert echo.texts[0] == {**expected, "mute": True}
    assert echo.created == [{**expected, "mute": True, "pitch_change": 3}]
    told = capsys.readouterr().err
    assert "0.50 s of audio" in told
    assert "preset: low\n" in told
    assert "promised delay: block 80.0 ms, computing 10.0 ms, total 90.0 ms" in told
    assert ("measured delay: p50" in told) == (pace == "realtime")
    assert not list(tmp_path.glob("**/*.part"))


async def test_what_goes_wrong_is_told_and_leaves_nothing(echo, tone, tmp_path, capsys):
    out = tmp_path / "out.wav"
    echo.refuse_session = (422, "pitch_change: too much", {})
    assert await run(tone, out, "--url", echo.url, "--quiet") == 2
    assert "too much" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.wav", "out.wav"], "no file none.wav"),
        (["in.wav", "in.wav"], "exists"),
        (["in.wav", "out.xyz"], "no ending that is written"),
        (["in.wav", "out.wav", "--block-ms", "7"], "block_ms"),
        (["in.wav", "out.wav", "--mode", "slow"], "mode"),
    ],
)
async def test_wrong_usage(tone, tmp_path, capsys, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert await run(*arguments, "--url", "http://127.0.0.1:9", "--quiet") == 2
    assert told in capsys.readouterr().err


async def test_no_audio(tmp_path, capsys):
    (tmp_path / "in.wav").write_text("no audio")
    assert await run(tmp_path / "in.wav", tmp_path / "out.wav", "--url", "http://127.0.0.1:9") == 1
    assert "not audio" in capsys.readouterr().err


def test_a_server_in_the_background(tmp_path):
    settings = load_settings({"weights_dir": tmp_path, "device": "cpu", "threads": 1, "port": 1}, env_file=None)
    with BackgroundServer(settings, ConversionParameters()) as server:
        with urllib.request.urlopen(f"{server.base_url}/healthz") as answer:
            assert answer.status == 200

        async def num_sessions():
            return len(server.state.sessions)

        assert server.call(num_sessions()).result() == 0


def test_a_file_through_a_server_of_its_own(tmp_path, monkeypatch, capsys):
    weights = tmp_path / "weights"
    shutil.copytree(OWN_VECTORS / "hubert" / "tiny12_hf_safetensors", weights / "contentvec")
    shutil.copy(OWN_VECTORS / "synth" / "v1_f0_40k.pth", weights / "alice.pth")
    monkeypatch.chdir(tmp_path)
    speech, rate_hz = soundfile.read(OWN_VECTORS / "audio" / "speech_short_16k.wav")
    soundfile.write("in.wav", speech[:16000], rate_hz)
    options = ["--pitch-extraction-algo", "pm", "--seed", "1", "--threads", "1", "--quiet"]
    assert main(["stream", "in.wav", "fast.wav", "--pace", "fast", *options]) == 0
    assert main(["stream", "in.wav", "spoken.wav", "--mode", "reliable", *options]) == 0
    fast, spoken = soundfile.read("fast.wav"), soundfile.read("spoken.wav")
    assert (len(fast[0]), fast[1]) == (16000, 16000)
    assert np.abs(fast[0]).max() > 0.01
    np.testing.assert_array_equal(fast[0], spoken[0])
    told = capsys.readouterr().err
    assert "measured delay: p50" in told
    assert "computing per block: p50" in told

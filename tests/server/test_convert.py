"""End to end with the small networks: every kind of voice, every format, exact lengths, the same bytes for a seed."""

import io
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from anivoice.server.convert import content_disposition

CASES = Path(__file__).parents[1] / "data" / "cases"


@pytest.fixture
async def client(serve_real):
    return await serve_real()


async def convert(client, data):
    async with client.post("/convert", data=data) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        assert int(answer.headers["Content-Length"]) == len(body)
        return answer.headers, body


def read(body: bytes):
    with soundfile.SoundFile(io.BytesIO(body)) as sound:
        return sound.read(), sound.samplerate, sound.channels, sound.format, sound.subtype


@pytest.mark.parametrize(
    ("fields", "pitch", "index"),
    [
        ({"model_name": "alice"}, "pm", "off"),
        ({"model_name": "alice.pth", "index_rate": 0.7, "pitch_change": 12}, "pm", "used"),
        ({"model_name": "bob", "index_rate": 0.7}, "pm", "none"),
        ({"model_name": "vera", "index_rate": 0.5, "protect": 0.2, "formant_shift": -1.5}, "pm", "used"),
        ({"model_name": "whisper", "volume_envelope": 0.2}, "none", "off"),
        ({"model_name": "alice", "pitch_extraction_algo": "Hybrid[pm + dio]"}, "hybrid[pm+dio]", "off"),
    ],
)
async def test_voices(client, form, speech, fields, pitch, index):
    headers, body = await convert(client, form(speech, "my speech.wav", **fields))
    samples, rate_hz, num_channels, container, subtype = read(body)
    num_in = len(read(speech)[0])
    assert (rate_hz, num_channels, container, subtype) == (40000, 1, "WAV", "PCM_16")
    assert len(samples) == round(num_in * 40000 / 16000)
    assert np.abs(samples).max() > 0.001
    name = str(fields["model_name"]).removesuffix(".pth")
    assert headers["X-Anivoice-Voice"] == name
    assert headers["X-Anivoice-Pitch-Method"] == pitch
    assert headers["X-Anivoice-Index"] == index
    assert headers["X-Anivoice-Sample-Rate"] == "40000"
    assert float(headers["X-Anivoice-Audio-Seconds"]) == pytest.approx(len(samples) / 40000, abs=1e-5)
    assert float(headers["X-Anivoice-Real-Time-Factor"]) > 0
    assert re.fullmatch(r"upload;dur=[\d.]+, wait;dur=[\d.]+, convert;dur=[\d.]+", headers["Server-Timing"])
    assert headers["Content-Disposition"] == f'attachment; filename="my speech_{name}.wav"'
    assert headers["Content-Type"] == "audio/wav"
    assert headers.get("X-Anivoice-Index-Reason") == ("it is called like the voice" if index == "used" else None)
    note = "voice bob has no index: index_rate 0.7 does nothing" if index == "none" else None
    assert unquote(headers.get("X-Anivoice-Notes", "")) == (note or "")


@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "pipe.flac", "oggflac-from-pipe.ogg", "size0.wav"])
async def test_recordings_of_phones_browsers_and_pipes(client, form, name):
    headers, body = await convert(client, form((CASES / name).read_bytes(), name, model_name="alice"))
    assert np.abs(read(body)[0]).max() > 0.001
    assert "X-Anivoice-Notes" not in headers


async def test_stereo_that_cancels_itself_is_heard_and_told(client, form):
    headers, body = await convert(client, form((CASES / "antiphase.wav").read_bytes(), model_name="alice"))
    assert np.abs(read(body)[0]).max() > 0.001
    assert "the channels of audio_file cancel each other" in unquote(headers["X-Anivoice-Notes"])


async def test_same_seed_same_bytes(client, form, speech):
    first = await convert(client, form(speech, seed=7))
    again = await convert(client, form(speech, seed=7))
    other = await convert(client, form(speech, seed=8))
    assert first[0]["X-Anivoice-Seed"] == "7"
    assert first[1] == again[1]
    assert first[1] != other[1]


async def test_seed_that_nobody_chose_can_be_used_again(client, form, speech):
    headers, body = await convert(client, form(speech))
    _, again = await convert(client, form(speech, seed=headers["X-Anivoice-Seed"]))
    assert body == again
    other, _ = await convert(client, form(speech))
    assert other["X-Anivoice-Seed"] != headers["X-Anivoice-Seed"]


@pytest.mark.parametrize(
    ("fmt", "subtype", "rate_hz", "num_channels"),
    [
        ("WAV", "FLOAT", 44100, 2),
        ("WAV", "PCM_24", 8000, 1),
        ("FLAC", "PCM_16", 48000, 2),
        ("OGG", "VORBIS", 22050, 1),
        ("OGG", "OPUS", 48000, 1),
        ("AIFF", "PCM_16", 32000, 1),
        ("MP3", "MPEG_LAYER_III", 44100, 2),
    ],
)
async def test_formats_in(client, form, make_audio, fmt, subtype, rate_hz, num_channels):
    audio = make_audio(0.77, rate_hz, num_channels, fmt, subtype)
    num_in = len(read(audio)[0])
    _, body = await convert(client, form(audio, model_name="whisper"))
    assert len(read(body)[0]) == round(num_in * 40000 / rate_hz)


@pytest.mark.parametrize(
    ("output_format", "output_rate_hz", "rate_hz", "content_type", "container"),
    [
        ("wav", None, 40000, "audio/wav", "WAV"),
        ("wav", 44100, 44100, "audio/wav", "WAV"),
        ("wav", 8000, 8000, "audio/wav", "WAV"),
        ("flac", None, 40000, "audio/flac", "FLAC"),
        ("flac", 96000, 96000, "audio/flac", "FLAC"),
        ("ogg", None, 40000, "audio/ogg", "OGG"),
        ("mp3", None, 44100, "audio/mpeg", "MP3"),
        ("mp3", 16000, 16000, "audio/mpeg", "MP3"),
    ],
)
async def test_formats_out(client, form, make_audio, output_format, output_rate_hz, rate_hz, content_type, container):
    audio = make_audio(0.5)
    rate = "" if output_rate_hz is None else output_rate_hz
    data = form(audio, model_name="whisper", output_format=output_format, output_sample_rate=rate)
    headers, body = await convert(client, data)
    samples, got_rate_hz, num_channels, got_container, _ = read(body)
    assert (got_rate_hz, num_channels, got_container) == (rate_hz, 1, container)
    assert headers["Content-Type"] == content_type
    assert headers["Content-Disposition"].endswith(f'.{output_format}"')
    assert float(headers["X-Anivoice-Audio-Seconds"]) == 0.5
    # mp3 has whole frames and a run-in of its own.
    num_extra = len(samples) - rate_hz // 2
    assert 0 <= num_extra <= 3000 if output_format == "mp3" else num_extra == 0


async def test_defaults_of_the_environment_yield_to_the_request(serve_real, form, speech):
    client = await serve_real(defaults={"model_name": "alice", "pitch_extraction_algo": "dio", "index_rate": 0.5})
    headers, _ = await convert(client, form(speech))
    assert (headers["X-Anivoice-Pitch-Method"], headers["X-Anivoice-Index"]) == ("dio", "used")
    headers, _ = await convert(client, form(speech, pitch_extraction_algo="pm", index_rate=0))
    assert (headers["X-Anivoice-Pitch-Method"], headers["X-Anivoice-Index"]) == ("pm", "off")


async def test_the_index_is_used_whenever_it_is_asked_for(serve_real, form, speech):
    client, fresh = await serve_real(), await serve_real()
    _, without = await convert(client, form(speech, model_name="alice", seed=1))
    headers, blended = await convert(client, form(speech, model_name="alice", seed=1, index_rate=0.7))
    assert headers["X-Anivoice-Index"] == "used"
    assert blended != without
    assert blended == (await convert(fresh, form(speech, model_name="alice", seed=1, index_rate=0.7)))[1]


async def test_method_that_nobody_chose_is_told(serve_real, form, make_audio, caplog):
    caplog.set_level("INFO")
    client = await serve_real(defaults={"model_name": "alice", "seed": 1})
    headers, _ = await convert(client, form(make_audio(0.3)))
    assert headers["X-Anivoice-Pitch-Method"] == "fcpe"
    assert "pitch fcpe (default)" in caplog.text


async def test_hostile_file_does_nothing(serve_real, form, speech, weights_dir, tmp_path):
    trace = tmp_path / "was-run"
    evil = f"cos\nsystem\n(S'touch {trace}'\ntR.".encode()
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "evil.pth").write_bytes(evil)
    client = await serve_real(defaults={"model_name": "evil"}, weights_dir=folder)
    async with client.post("/convert", data=form(speech)) as answer:
        assert answer.status == 422
        assert "evil.pth" in (await answer.json())["error"]
    assert not trace.exists()


@pytest.mark.parametrize(
    ("upload_name", "voice", "header"),
    [
        ("talk.flac", "alice", 'attachment; filename="talk_alice.wav"'),
        ("C:\\Users\\me\\talk.wav", "alice", 'attachment; filename="talk_alice.wav"'),
        ("../../etc/passwd", "alice", 'attachment; filename="passwd_alice.wav"'),
        ("my%20talk.wav", "alice", 'attachment; filename="my talk_alice.wav"'),
        ("", "alice", 'attachment; filename="audio_alice.wav"'),
        ("...", "alice", 'attachment; filename="audio_alice.wav"'),
        ('a"b\r\nX: y.wav', "alice", 'attachment; filename="a_b__X_ y_alice.wav"'),
        ("müsli.wav", "ÿ", "attachment; filename=\"m_sli__.wav\"; filename*=UTF-8''m%C3%BCsli_%C3%BF.wav"),
        ("x" * 500, "y", f'attachment; filename="{"x" * 80}_y.wav"'),
    ],
)
def test_file_name_of_the_answer(upload_name, voice, header):
    assert content_disposition(upload_name, voice, "wav") == header

"""Recordings as people have them: every container, numbers of every kind, channels of every kind, damaged ones."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from anivoice.audio.containers import sniff
from anivoice.audio.files import DecodedInfo, Scratch, decode
from anivoice.errors import TooLarge, UndecodableAudio

CASES = Path(__file__).parents[1] / "data" / "cases"
RATE_HZ = 16000
Samples = NDArray[np.float32]


def decoded(content: bytes, max_seconds: float = 100, rate_hz: int = RATE_HZ) -> tuple[Samples, DecodedInfo]:
    with Scratch() as scratch:
        info = decode(io.BytesIO(content), scratch, rate_hz, max_seconds)
        return scratch[:], info


def tone(seconds: float = 1.0, rate_hz: int = 44100) -> Samples:
    """A tone that rises, so that a shift in time shows."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * (200 + 500 * time_s / seconds) * time_s)).astype(np.float32)


def in_wav(samples: NDArray[np.floating], rate_hz: int = 44100, fmt: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, subtype, format=fmt)
    return file.getvalue()


def by_ffmpeg(container: str, codec: str, samples: Samples, rate_hz: int, layout: str = "mono") -> bytes:
    """`samples` as FFmpeg writes them."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate_hz, layout=layout)
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate_hz, frame_size=stream.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def assert_sounds_like(got: Samples, wanted: Samples, min_correlation: float = 0.99) -> None:
    """The same sound at the same time; what codecs add at the end may be longer."""
    length = min(len(got), len(wanted))
    assert length >= 0.97 * len(wanted)
    assert np.corrcoef(got[:length], wanted[:length])[0, 1] > min_correlation
    assert np.std(got[:length]) == pytest.approx(np.std(wanted[:length]), rel=0.06)


@pytest.mark.parametrize(
    ("name", "rate_hz", "seconds"),
    [
        ("a.m4a", 44100, 0.813),
        ("a.webm", 48000, 2.785),
        ("pipe.flac", 44100, 2.785),
        ("oggflac-from-pipe.ogg", 8000, 0.35),
        ("size0.wav", 44100, 0.4535),
        ("live-mulaw.wav", 8000, 0.35),
    ],
)
def test_the_cases_are_read_to_their_end(name: str, rate_hz: int, seconds: float) -> None:
    samples, info = decoded((CASES / name).read_bytes())
    assert info.sample_rate_hz == rate_hz
    assert info.num_frames / rate_hz == pytest.approx(seconds, abs=0.001)
    assert len(samples) == pytest.approx(seconds * RATE_HZ, abs=RATE_HZ / 500)
    assert np.abs(samples).max() > 0.1
    assert info.notes == ()


def test_the_same_recording_from_a_pipe_and_from_a_browser_is_the_same() -> None:
    from_pipe, _ = decoded((CASES / "pipe.flac").read_bytes())
    from_browser, _ = decoded((CASES / "a.webm").read_bytes())
    length = min(len(from_pipe), len(from_browser))
    assert np.corrcoef(from_pipe[:length], from_browser[:length])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("adts", "aac"),
        ("ipod", "alac"),
        ("asf", "wmav2"),
        ("wv", "wavpack"),
        ("ac3", "ac3"),
        ("matroska", "flac"),
        ("mp3", "libmp3lame"),
        ("caf", "alac"),
        ("wav", "adpcm_ms"),
    ],
)
def test_what_ffmpeg_reads_is_converted(container: str, codec: str) -> None:
    wanted = tone()
    got, info = decoded(by_ffmpeg(container, codec, wanted, 44100), rate_hz=44100)
    assert (info.sample_rate_hz, info.num_channels) == (44100, 1)
    # Without a header that tells the encoder's delay nobody can take it away; FFmpeg's WMA encoder loses a frame.
    delay = int(np.argmax(np.correlate(got[:16_000], wanted[4000:10_000], "valid"))) - 4000
    assert abs(delay) <= 2048 if container in ("adts", "ac3", "asf", "mp3") else delay == 0
    assert_sounds_like(got[max(delay, 0) :], wanted[max(-delay, 0) : len(got) - delay])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("fmt", ["WAV", "WAVEX", "RF64"])
def test_wav_of_every_kind_of_numbers(fmt: str, subtype: str) -> None:
    wanted = tone(0.3)
    got, _ = decoded(in_wav(wanted, fmt=fmt, subtype=subtype), rate_hz=44100)
    assert len(got) == len(wanted)
    tolerance = {"PCM_U8": 0.01, "ULAW": 0.03, "ALAW": 0.03}.get(subtype, 1e-4)
    np.testing.assert_allclose(got, wanted, atol=tolerance)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end(size: int) -> None:
    wanted = tone(0.3)
    content = bytearray(in_wav(wanted, subtype="PCM_16"))
    content[4:8] = content[40:44] = struct.pack("<I", size)
    got, _ = decoded(bytes(content), rate_hz=44100)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 96000, 192000])
def test_low_and_high_rates(rate_hz: int) -> None:
    got, info = decoded(in_wav(tone(0.5, rate_hz), rate_hz))
    assert info.sample_rate_hz == rate_hz
    assert_sounds_like(got, tone(0.5, RATE_HZ), 0.999)


def test_twenty_milliseconds_and_one_sample() -> None:
    got, info = decoded(in_wav(tone(0.02)), rate_hz=44100)
    assert (len(got), info.num_frames) == (882, 882)
    assert decoded(in_wav(tone()[:1]))[1].num_frames == 1


def test_a_constant_stays_a_constant() -> None:
    got, _ = decoded(in_wav(np.full(4410, 0.25)), rate_hz=44100)
    np.testing.assert_allclose(got, 0.25, atol=1e-4)


def test_nothing_and_no_numbers_are_refused_in_words() -> None:
    with pytest.raises(UndecodableAudio, match="is empty"):
        decoded(b"")
    with pytest.raises(UndecodableAudio, match="0 samples"):
        decoded(in_wav(np.zeros(0)))
    with pytest.raises(UndecodableAudio, match="not numbers"):
        decoded(in_wav(np.full(100, np.nan), subtype="FLOAT"))


def id3(content: bytes) -> bytes:
    """`content` behind an ID3 tag with a large picture, whose bytes look like MPEG frames."""
    picture = b"APIC" + struct.pack(">I", 70_013) + b"\0\0" + b"\0image/jpeg\0\x03\0" + b"\xff\xfb\x90\x44" * 17_500
    length = len(picture)
    size = bytes(length >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + picture + content


@pytest.mark.parametrize(("fmt", "container"), [("MP3", "mp3"), ("FLAC", "flac")])
def test_pictures_in_front_of_the_sound_are_passed_over(fmt: str, container: str) -> None:
    wanted = tone()
    content = id3(in_wav(wanted, fmt=fmt))
    assert sniff(io.BytesIO(content)) == container
    got, _ = decoded(content, rate_hz=44100)
    assert_sounds_like(got, wanted)


def test_channels_without_sound_do_not_make_the_others_softer() -> None:
    wanted = tone()
    silent = np.zeros_like(wanted)
    got, info = decoded(in_wav(np.stack([silent, wanted], axis=1)), rate_hz=44100)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert (info.num_channels, info.notes) == (2, ())
    both, _ = decoded(in_wav(np.stack([wanted, silent, wanted, silent], axis=1)), rate_hz=44100)
    np.testing.assert_allclose(both, wanted, atol=1e-4)


def test_channels_that_cancel_each_other_give_the_louder_one_and_a_note() -> None:
    wanted = tone()
    got, info = decoded(in_wav(np.stack([-0.9 * wanted, wanted], axis=1)), rate_hz=44100)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert info.notes == ("the channels of audio_file cancel each other; only channel 2 of 2 was taken",)
    samples, info = decoded((CASES / "antiphase.wav").read_bytes())
    assert np.abs(samples).max() > 0.5
    assert "cancel" in info.notes[0]


def test_ordinary_stereo_is_the_mean() -> None:
    left, right = tone(), tone()[::-1].copy()
    got, info = decoded(in_wav(np.stack([left, right], axis=1)), rate_hz=44100)
    np.testing.assert_allclose(got, (left + right) / 2, atol=1e-4)
    assert info.notes == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: by_ffmpeg("ipod", "aac", tone(12, 8000), 8000),
        lambda: by_ffmpeg("matroska", "flac", tone(12, 8000), 8000),
        lambda: in_wav(tone(12, 8000), 8000),
    ],
)
def test_the_limit_of_length_holds_for_every_reader(make: Callable[[], bytes]) -> None:
    with pytest.raises(TooLarge, match="longer than the limit of 10 s"):
        decoded(make(), max_seconds=10)


def test_the_limit_of_channels_holds_for_every_reader() -> None:
    with pytest.raises(UndecodableAudio, match="65 channels"):
        decoded(in_wav(np.zeros((100, 65))))
    many = by_ffmpeg("wav", "pcm_s16le", np.zeros(24 * 100, np.float32), 8000, "22.2")
    assert decoded(many)[1].num_channels == 24


def test_damaged_packets_are_left_out_and_counted() -> None:
    content = bytearray(by_ffmpeg("adts", "aac", tone(), 44100))
    frames = [at for at in range(len(content) - 1) if content[at] == 0xFF and content[at + 1] & 0xF6 == 0xF0]
    for at in frames[10:14]:
        content[at + 7 : at + 60] = b"\xff" * 53
    got, info = decoded(bytes(content), rate_hz=44100)
    assert len(got) > 35000
    assert "could not be decoded" in info.notes[0]


@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "pipe.flac", "oggflac-from-pipe.ogg"])
@pytest.mark.parametrize("part", [0.01, 0.2, 0.6, 0.95])
def test_cut_off_files_are_read_as_far_as_they_go_or_refused_in_words(name: str, part: float) -> None:
    content = (CASES / name).read_bytes()
    try:
        samples, _ = decoded(content[: round(part * len(content))])
    except UndecodableAudio:
        samples = np.zeros(0, np.float32)
    assert np.isfinite(samples).all()
    assert len(samples) or part < 0.5 or name not in ("a.webm", "pipe.flac")


def test_mp4_tables_that_claim_more_than_the_file_holds_are_refused() -> None:
    content = bytearray((CASES / "a.m4a").read_bytes())
    sizes, chunks, times = (content.index(name) for name in (b"stsz", b"stsc", b"stts"))
    content[sizes + 8 : sizes + 16] = struct.pack(">II", 1, 5_000_000)
    content[chunks + 16 : chunks + 20] = content[times + 12 : times + 16] = struct.pack(">I", 5_000_000)
    with pytest.raises(UndecodableAudio, match="claims more packets than it has bytes"):
        decoded(bytes(content))


@pytest.mark.parametrize(
    "content",
    [b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.aac\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"<html>" * 100],
)
def test_playlists_are_no_audio(content: bytes) -> None:
    with pytest.raises(UndecodableAudio, match="not audio"):
        decoded(content)


def test_a_film_without_sound_is_told() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        output.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(UndecodableAudio, match="holds no audio, only pictures"):
        decoded(file.getvalue())


def test_damaged_mp3_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(id3(in_wav(tone(), fmt="MP3")))
    content[72_000:72_300] = b"\xff\xfb" * 150
    content += b"TAG" + b"\xff" * 200
    decoded(bytes(content))
    assert capfd.readouterr() == ("", "")

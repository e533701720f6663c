"""The wire formats: any split of the bytes gives the same samples, bit by bit."""

import io
import struct
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anivoice.audio.riff import streaming_header
from anivoice.audio.wire import WireDecoder, WireEncoder, WireFormat
from anivoice.errors import InvalidParameter, InvalidRequest, MissingAsset

RATE_HZ = 48000
LENGTHS = st.lists(st.integers(0, 90), max_size=12)

Samples = NDArray[np.float32]


def speech_like(num_samples: int, rate_hz: int = RATE_HZ) -> Samples:
    """Harmonics that swell and fade."""
    t = np.arange(num_samples) / rate_hz
    waves = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 20))
    return (0.2 * waves * (1 + np.sin(2 * np.pi * 3 * t)) / 2).astype(np.float32)


def cut(data: bytes, lengths: list[int]) -> list[bytes]:
    borders = np.minimum(np.cumsum([0, *lengths]), len(data)).tolist()
    return [data[start:stop] for start, stop in zip(borders, [*borders[1:], len(data)], strict=True)]


def decode(decoder: WireDecoder, messages: list[bytes]) -> Samples:
    return np.concatenate([decoder.feed(message) for message in messages])


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def form(tag: int, num_channels: int, rate_hz: int, num_bits: int, extra: bytes = b"") -> bytes:
    frame = num_channels * num_bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, num_channels, rate_hz, rate_hz * frame, frame, num_bits) + extra)


def wav(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(("wire_format", "dtype"), [("pcm_s16le", "<i2"), ("pcm_f32le", "<f4")])
@pytest.mark.parametrize("channels", [1, 2])
@given(lengths=LENGTHS)
def test_any_split_gives_the_same_samples(
    wire_format: WireFormat, dtype: str, channels: int, lengths: list[int]
) -> None:
    values = np.random.default_rng(1).normal(0, 0.3, (100, channels))
    values = values * 32768 if dtype == "<i2" else values
    data = values.astype(dtype).tobytes()
    whole = WireDecoder(wire_format, RATE_HZ, channels).feed(data)
    split = decode(WireDecoder(wire_format, RATE_HZ, channels), cut(data, lengths))
    assert split.dtype == np.float32
    assert len(whole) == 100
    np.testing.assert_array_equal(split, whole)


def test_odd_bytes_wait_for_the_rest_of_their_sample() -> None:
    decoder = WireDecoder("pcm_s16le", RATE_HZ, 2)
    np.testing.assert_array_equal(decoder.feed(b"\x00"), [])
    np.testing.assert_array_equal(decoder.feed(b"\x40\x00"), [])
    np.testing.assert_array_equal(decoder.feed(b"\x20\x00\x40\x00\xc0\x07"), [0.375, 0.0])


def test_reset_forgets_half_a_sample() -> None:
    decoder = WireDecoder("pcm_s16le", RATE_HZ)
    decoder.feed(b"\x01\x02\x03")
    decoder.reset()
    np.testing.assert_array_equal(decoder.feed(b"\x00\x40"), [0.5])


def test_what_is_no_number_becomes_silence_and_the_absurdly_loud_is_clipped() -> None:
    data = np.array([np.nan, 0.5, np.inf, -np.inf, 3e38, -1.5], "<f4").tobytes()
    np.testing.assert_array_equal(WireDecoder("pcm_f32le", RATE_HZ).feed(data), [0, 0.5, 0, 0, 16, -1.5])


@given(st.lists(st.integers(-32768, 32767), min_size=1))
def test_int16_goes_through_unchanged(values: list[int]) -> None:
    data = np.array(values, "<i2").tobytes()
    samples = WireDecoder("pcm_s16le", RATE_HZ).feed(data)
    assert WireEncoder("pcm_s16le", RATE_HZ).feed(samples) == [data]


def test_float32_goes_through_unchanged() -> None:
    data = np.random.default_rng(0).normal(0, 1, 99).astype("<f4").tobytes()
    samples = WireDecoder("pcm_f32le", RATE_HZ).feed(data)
    assert WireEncoder("pcm_f32le", RATE_HZ).feed(samples) == [data]


def test_int16_is_clipped_not_wrapped() -> None:
    (message,) = WireEncoder("pcm_s16le", RATE_HZ).feed(np.array([1.5, -1.5, 1.0, 0.25], np.float32))
    assert np.frombuffer(message, "<i2").tolist() == [32767, -32768, 32767, 8192]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_wav_files_decode_as_libsndfile_has_them(subtype: str, container: str, channels: int) -> None:
    signal = np.random.default_rng(2).uniform(-0.9, 0.9, (300, channels))
    file = io.BytesIO()
    soundfile.write(file, signal, 22050, subtype, format=container)
    expected = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)[0]
    decoder = WireDecoder("pcm_s16le", RATE_HZ)
    data = file.getvalue()
    samples = decode(decoder, [data[:201], *cut(data[201:], [7, 100, 3])])
    assert (decoder.format, decoder.sample_rate_hz, decoder.num_channels) == ("wav", 22050, channels)
    np.testing.assert_allclose(samples, expected.mean(axis=1), atol=1e-6)


@given(LENGTHS)
def test_wav_header_and_audio_in_the_first_message_then_any_split(lengths: list[int]) -> None:
    audio = np.arange(-200, 200, dtype="<i2")
    first = wav(form(1, 1, 44100, 16), chunk(b"data", audio[:50].tobytes(), audio.nbytes))
    decoder = WireDecoder("wav", RATE_HZ)
    samples = decode(decoder, [first, *cut(audio[50:].tobytes(), lengths)])
    np.testing.assert_array_equal(samples * 32768, audio)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 36])
def test_wav_without_an_end(size: int) -> None:
    audio = np.arange(100, dtype="<i2").tobytes()
    decoder = WireDecoder("wav", RATE_HZ)
    samples = decode(decoder, [wav(form(1, 1, 16000, 16), chunk(b"data", audio, size)), audio, audio])
    np.testing.assert_array_equal(samples * 32768, np.tile(np.arange(100), 3))


def test_unknown_chunks_before_the_audio_are_passed_over_and_those_behind_it_are_not_heard() -> None:
    audio = np.arange(1, 101, dtype="<i2")
    extensible = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    header = [chunk(b"JUNK", b"odd"), form(0xFFFE, 2, 32000, 16, extensible), chunk(b"LIST", b"INFOIART")]
    decoder = WireDecoder("pcm_f32le", RATE_HZ)
    samples = decode(decoder, cut(wav(*header, chunk(b"data", audio.tobytes()), chunk(b"LIST", b"INFO")), [150, 31]))
    np.testing.assert_array_equal(samples * 32768, audio.reshape(-1, 2).mean(axis=1))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (wav(chunk(b"data", b"1234")), "no 'fmt ' chunk"),
        (wav(chunk(b"fmt ", b"1234"), chunk(b"data", b"")), "has 4 bytes"),
        (wav(form(85, 1, 16000, 16), chunk(b"data", b"")), "format 85 with 16 bits"),
        (wav(form(1, 1, 16000, 12), chunk(b"data", b"")), "format 1 with 12 bits"),
        (wav(form(1, 1, 4000, 16), chunk(b"data", b"")), "4000 Hz; 8000 to 192000"),
        (wav(form(1, 0, 16000, 16), chunk(b"data", b"")), "0 channels; 1 to 8"),
        (wav(chunk(b"JUNK", bytes(2**16), 0xFFFFFFFF)), "cut off"),
        (b"RIFFs are not heard", "does not begin with a WAV header"),
        (b"\x01\x02\x03\x04", "does not begin with a WAV header"),
    ],
)
def test_bad_wav_headers_are_refused_with_the_reason(message: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        WireDecoder("wav", RATE_HZ).feed(message)


@given(st.lists(st.integers(0, 30), max_size=12))
def test_a_header_may_come_in_pieces(lengths: list[int]) -> None:
    audio = np.arange(-30, 30, dtype="<i2")
    file = wav(chunk(b"LIST", b"INFO"), form(1, 1, 44100, 16), chunk(b"data", audio.tobytes()))
    decoder = WireDecoder("pcm_s16le", RATE_HZ)
    samples = decode(decoder, cut(file, lengths))
    assert decoder.sample_rate_hz == 44100
    np.testing.assert_array_equal(samples * 32768, audio)


def test_samples_that_look_like_the_begin_of_a_header_are_played_with_the_next_message() -> None:
    audio = np.frombuffer(b"RIXY", "<i2")
    decoder = WireDecoder("pcm_s16le", RATE_HZ)
    np.testing.assert_array_equal(decode(decoder, [b"RI", b"XY"]) * 32768, audio)
    np.testing.assert_array_equal(decoder.feed(b"RIXY") * 32768, audio)


@pytest.mark.parametrize("size", [None, 0xFFFFFFFF])
def test_a_file_in_every_message_is_heard_whole(size: int | None) -> None:
    audio = np.arange(100, dtype="<i2")
    file = wav(form(1, 1, 16000, 16), chunk(b"data", audio.tobytes(), size))
    samples = decode(WireDecoder("wav", RATE_HZ), [file] * 5)
    np.testing.assert_array_equal(samples * 32768, np.tile(audio, 5))


def test_what_was_refused_stays_refused_until_there_is_a_header_that_can_be_used() -> None:
    decoder = WireDecoder("pcm_s16le", RATE_HZ)
    with pytest.raises(InvalidRequest, match="format 7 with 8 bits"):
        decoder.feed(wav(form(7, 1, 8000, 8), chunk(b"data", bytes(range(100)), 0xFFFFFFFF)))
    assert decoder.is_refused
    assert len(decode(decoder, [bytes(range(200)), b"RI", b"odd"])) == 0
    audio = np.arange(100, dtype="<i2")
    samples = decoder.feed(wav(form(1, 1, 16000, 16), chunk(b"data", audio.tobytes())))
    np.testing.assert_array_equal(samples * 32768, audio)


@pytest.mark.parametrize("file_format", ["FLAC", "OGG", "MP3", "AIFF", "CAF", "W64"])
@pytest.mark.parametrize("wire_format", ["pcm_s16le", "pcm_f32le", "wav"])
def test_a_container_in_place_of_samples_is_named_and_not_played(file_format: str, wire_format: WireFormat) -> None:
    file = io.BytesIO()
    soundfile.write(file, speech_like(24000), RATE_HZ, format=file_format)
    decoder = WireDecoder(wire_format, RATE_HZ)
    name = {"OGG": "Ogg", "W64": "Wave64"}.get(file_format, file_format)
    with pytest.raises(InvalidRequest, match=f"is {name}.*`format`"):
        decoder.feed(file.getvalue()[:4000])
    assert len(decoder.feed(file.getvalue()[4000:])) == 0


@pytest.mark.parametrize(
    ("head", "name"), [(b"\x1a\x45\xdf\xa3\x9fB\x86\x81", "WebM"), (b"\0\0\0\x20ftypM4A ", "MP4 or M4A")]
)
def test_what_browsers_and_phones_record_is_named(head: bytes, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"is {name}"):
        WireDecoder("pcm_s16le", RATE_HZ).feed(head + bytes(100))


def test_rf64_is_read() -> None:
    file = io.BytesIO()
    soundfile.write(file, speech_like(1000), RATE_HZ, format="RF64", subtype="FLOAT")
    samples = WireDecoder("pcm_s16le", 8000).feed(file.getvalue())
    np.testing.assert_array_equal(samples[:1000], speech_like(1000))


@given(LENGTHS)
def test_of_a_stereo_stream_with_only_its_right_channel_in_use_that_is_heard_as_loud_as_it_is(
    lengths: list[int],
) -> None:
    left, right = np.zeros(100), np.arange(1000, 1100)
    left[60:] = 500
    data = np.stack([left, right], axis=1).astype("<i2").tobytes()
    samples = decode(WireDecoder("pcm_s16le", RATE_HZ, 2), cut(data, lengths)) * 32768
    np.testing.assert_array_equal(samples, [*right[:60], *(right[60:] + 500) / 2])


@given(st.binary(max_size=80))
def test_no_header_however_odd_is_a_fault(rest: bytes) -> None:
    decoder = WireDecoder("wav", RATE_HZ)
    try:
        assert decoder.feed(b"RIFF\0\0\0\0WAVE" + rest).dtype == np.float32
    except InvalidRequest as error:
        assert "WAV header" in str(error)  # noqa: PT017 - it need not be raised


def test_wav_answer_begins_with_a_header_that_has_no_end_and_only_once() -> None:
    encoder = WireEncoder("wav", 44100)
    signal = speech_like(500)
    messages = encoder.feed(signal[:0]) + encoder.feed(signal[:123]) + encoder.feed(signal[123:]) + encoder.flush()
    assert len(messages) == 2
    assert messages[0].startswith(streaming_header(44100))
    assert not messages[1].startswith(b"RIFF")
    decoder = WireDecoder("pcm_f32le", 8000)
    decoded = decode(decoder, messages)
    assert decoder.sample_rate_hz == 44100
    np.testing.assert_allclose(decoded, signal, atol=0.6 / 32768)


def lag_and_correlation(original: Samples, decoded: Samples) -> tuple[int, float]:
    """By how many samples `decoded` is late, and the correlation there."""
    middle = original[4000:24000].astype(np.float64)
    scores = np.correlate(decoded[4000:26000].astype(np.float64), middle, "valid")
    lag = int(np.argmax(scores))
    found = decoded[4000 + lag : 24000 + lag]
    return lag, float(np.corrcoef(found, middle)[0, 1])


@pytest.mark.parametrize("rate_hz", [48000, 44100, 16000])
def test_opus_round_trip(rate_hz: int) -> None:
    encoder = WireEncoder("opus", rate_hz)
    signal = speech_like(rate_hz, rate_hz)
    packets = [packet for part in np.array_split(signal, 17) for packet in encoder.feed(part)] + encoder.flush()
    decoder = WireDecoder("opus", rate_hz)
    assert decoder.sample_rate_hz == 48000
    decoded = decode(decoder, packets)
    assert all(len(WireDecoder("opus", 48000).feed(packet)) == 960 for packet in packets[:3])
    assert 48000 <= len(decoded) <= 48000 + 3 * 960
    lag, correlation = lag_and_correlation(speech_like(48000), decoded)
    assert correlation > 0.98
    assert lag <= 130


@given(st.lists(st.integers(0, 2000), max_size=6))
def test_opus_packets_do_not_depend_on_the_split(lengths: list[int]) -> None:
    signal = speech_like(4000, 16000)
    whole = WireEncoder("opus", 16000)
    encoder = WireEncoder("opus", 16000)
    packets = [packet for part in np.split(signal, np.cumsum(lengths)) for packet in encoder.feed(part)]
    assert packets + encoder.flush() == whole.feed(signal) + whole.flush()


def test_opus_encodes_on_after_a_flush() -> None:
    encoder = WireEncoder("opus", 48000)
    assert encoder.flush() == []
    for _ in range(2):
        packets = encoder.feed(speech_like(1000)) + encoder.flush()
        assert sum(len(WireDecoder("opus", 48000).feed(packet)) for packet in packets) >= 1000
    assert encoder.delay_ms >= 20


def test_bad_opus_is_refused_and_the_stream_goes_on() -> None:
    decoder = WireDecoder("opus", 48000)
    with pytest.raises(InvalidRequest, match="not an Opus packet"):
        decoder.feed(b"\xff\xff\xff")
    (packet,) = WireEncoder("opus", 48000).feed(speech_like(960))
    assert len(decoder.feed(packet)) == 960
    assert len(decoder.feed(b"")) == 0
    assert len(decoder.feed(packet)) == 960


def test_opus_without_its_library_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingAsset, match="pip install av"):
        WireDecoder("opus", 48000)


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="'mp3' is not one of pcm_s16le"):
        WireDecoder("mp3", RATE_HZ)  # type: ignore[arg-type]

"""File conversion for users: exact lengths, continuous joints, any cut gives the same, bounded, cancellable."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conformance import OWN_VECTORS
from numpy.typing import NDArray

from anivoice.audio.files import OutputFormat, Scratch, check_output, decode, resolve_output_rate
from anivoice.audio.segmentation import (
    DEFAULT_PROFILE,
    Profile,
    content_frames,
    find_cuts,
    plan_exact,
    plan_reference,
    read_reflected,
)
from anivoice.engine.batch import Job, Request, WindowRequest
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.errors import Cancelled, InvalidModelFile, InvalidParameter, MissingAsset, TooLarge, UndecodableAudio
from anivoice.offline import ConversionTask, convert_file, convert_recording, resolve
from anivoice.parameters import ConversionParameters
from anivoice.voices.cache import VoiceCache
from anivoice.voices.library import VoiceLibrary
from anivoice.voices.voice import Voice

SHORT = "speech_short_16k.wav"


class Room:
    """An engine with tiny voices: `alice` (v1, f0, 40k) with an index, `nina` (v1, no f0, 48k)."""

    def __init__(self, weights_dir: Path) -> None:
        vectors = OWN_VECTORS
        shutil.copy(vectors / "synth" / "v1_f0_40k.pth", weights_dir / "alice.pth")
        shutil.copy(vectors / "retrieval" / "added_v1_256.index", weights_dir / "added_IVF20_alice.index")
        shutil.copy(vectors / "synth" / "v1_nof0_48k.pth", weights_dir / "nina.pth")
        shutil.copytree(vectors / "hubert" / "tiny12_hf_safetensors", weights_dir / "contentvec")
        self.voices = VoiceCache(VoiceLibrary(weights_dir), 2**30)
        self.runner = TorchRunner(torch.device("cpu"), torch.float32, weights_dir, num_threads=1)
        self.engine = Engine(self.runner)
        self.engine.start()

    def task(self, voice: Voice, **parameters: object) -> ConversionTask:
        given = {"pitch_extraction_algo": "pm", "seed": 3, **parameters}
        return resolve(voice, ConversionParameters.model_validate(given), self.runner.pitch)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    room = Room(tmp_path_factory.mktemp("weights"))
    yield room
    room.engine.stop()


@pytest.fixture
def alice(room: Room) -> Iterator[Voice]:
    with room.voices.using("alice", with_index=True) as voice:
        yield voice


def wav(samples: NDArray[np.float32], rate_hz: int = 16000, fmt: str = "WAV", subtype: str | None = None) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, subtype, format=fmt)
    file.seek(0)
    return file


def convert(room: Room, task: ConversionTask, source: io.BytesIO) -> tuple[NDArray[np.float32], int]:
    result = io.BytesIO()
    convert_file(room.engine, task, source, result, Job())
    result.seek(0)
    return soundfile.read(result, dtype="float32")


def speech() -> NDArray[np.float32]:
    return soundfile.read(OWN_VECTORS / "audio" / SHORT, dtype="float32")[0]


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("num_samples", [1, 2, 37, 401, 5000, 16001])
def test_the_result_is_exactly_as_long_as_the_input(room: Room, alice: Voice, rate_hz: int, num_samples: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, num_samples).astype(np.float32)
    task = room.task(alice)
    got, got_rate = convert(room, task, wav(samples, rate_hz))
    assert got_rate == 40000
    assert len(got) == round(num_samples * 40000 / rate_hz)
    same_rate = ConversionTask(alice, task.parameters, "pm", 3, output_rate_hz=rate_hz)
    got, got_rate = convert(room, same_rate, wav(samples, rate_hz))
    assert (len(got), got_rate) == (num_samples, rate_hz)


def test_the_same_seed_gives_the_same_file_and_another_seed_another(room: Room, alice: Voice) -> None:
    source = wav(speech())
    first, _ = convert(room, room.task(alice), source)
    source.seek(0)
    again, _ = convert(room, room.task(alice), source)
    source.seek(0)
    other, _ = convert(room, room.task(alice, seed=4), source)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("formant_shift", [0.0, -3.3, 7.0])
@pytest.mark.parametrize("name", ["alice", "nina"])
def test_cutting_a_recording_does_not_change_it(room: Room, name: str, formant_shift: float) -> None:
    samples = soundfile.read(OWN_VECTORS / "audio" / "speech_long_16k.wav", dtype="float32")[0][: 16000 * 9 + 77]
    many = Profile(pad_s=1, query_s=1, center_s=3, max_s=4)
    one = Profile(pad_s=1, query_s=1, center_s=3, max_s=100)
    with room.voices.using(name, with_index=False) as voice:
        task = room.task(voice, formant_shift=formant_shift)
        whole = np.concatenate(list(convert_recording(room.engine, task, samples, Job(), profile=one)))
        cuts = find_cuts(samples, many)
        pieces = list(convert_recording(room.engine, task, samples, Job(), profile=many))
    joined = np.concatenate(pieces)
    assert len(cuts) >= 2
    assert len(joined) == len(whole)
    # The networks see other contexts, so the pieces are not equal to the whole; the source's phase and the noise are.
    hop = voice.config.frame_samples
    joints = np.cumsum([len(piece) for piece in pieces])[:-1]
    steps = np.abs(np.diff(joined))
    for joint in joints:
        around = steps[joint - 2 * hop : joint + 2 * hop]
        assert steps[joint - 1] <= np.quantile(around, 0.99) * 1.5 + 1e-3
    assert np.corrcoef(joined, whole)[0, 1] > 0.99


def test_stereo_is_mixed_down(room: Room, alice: Voice) -> None:
    mono = speech()
    stereo = np.stack([1.5 * mono, 0.5 * mono], axis=1) * 0.5
    from_mono, _ = convert(room, room.task(alice), wav(mono * 0.5, subtype="FLOAT"))
    from_stereo, _ = convert(room, room.task(alice), wav(stereo, subtype="FLOAT"))
    np.testing.assert_allclose(from_stereo, from_mono, atol=1e-3)


@pytest.mark.parametrize("fmt", ["wav", "flac", "ogg", "mp3"])
def test_formats_in_and_out(room: Room, alice: Voice, fmt: str) -> None:
    samples = speech()[:16000]
    source = wav(samples, 16000, fmt.upper())
    task = ConversionTask(
        alice, ConversionParameters(), "pm", 3, output_format=check_output(fmt, 48000), output_rate_hz=48000
    )
    got, rate_hz = convert(room, task, source)
    assert rate_hz == 48000
    assert abs(len(got) - 48000) <= (3 * 1152 if fmt == "mp3" else 3)
    assert np.abs(got).max() > 0.01


def test_loud_input_does_not_clip(room: Room, alice: Voice) -> None:
    got, _ = convert(room, room.task(alice, volume_envelope=0), wav(speech() * 30, subtype="FLOAT"))
    assert 0.5 < np.abs(got).max() <= 0.991


def test_volume_envelope_zero_follows_the_input(room: Room, alice: Voice) -> None:
    samples = speech()
    samples[20000:] *= 0.01
    flat, _ = convert(room, room.task(alice, volume_envelope=1), wav(samples, subtype="FLOAT"))
    following, _ = convert(room, room.task(alice, volume_envelope=0), wav(samples, subtype="FLOAT"))

    def ratio(x: NDArray[np.float32]) -> float:
        quarter = len(x) // 4
        return float(np.std(x[-quarter:]) / np.std(x[:quarter]))

    assert ratio(following) < 0.1 * ratio(flat)


def test_formant_shift_keeps_length_and_pitch(room: Room, alice: Voice) -> None:
    samples = speech()
    plain, _ = convert(room, room.task(alice), wav(samples))
    for shift in (-7.0, 5.0):
        moved, _ = convert(room, room.task(alice, formant_shift=shift), wav(samples))
        assert len(moved) == len(plain)
        assert not np.allclose(moved, plain, atol=1e-3)


def test_a_cancelled_job_ends_with_cancelled_and_no_files(room: Room, alice: Voice) -> None:
    job = Job()
    job.cancel()
    before = set(Path(tempfile.gettempdir()).glob("anivoice-*"))
    with pytest.raises(Cancelled):
        convert_file(room.engine, room.task(alice), wav(speech()), io.BytesIO(), job)
    assert set(Path(tempfile.gettempdir()).glob("anivoice-*")) == before


def test_decoding_stops_when_the_job_is_cancelled() -> None:
    with Scratch() as scratch:

        def check() -> None:
            if len(scratch) > 0:
                raise Cancelled("gone")

        with pytest.raises(Cancelled):
            decode(wav(np.zeros(500_000, np.float32)), scratch, 16000, 100, check)
        assert len(scratch) < 100_000


def test_a_job_cancelled_after_the_last_window_is_not_finished(room: Room, alice: Voice) -> None:
    job, result = Job(), io.BytesIO()
    with pytest.raises(Cancelled):
        convert_file(room.engine, room.task(alice), wav(speech()), result, job, lambda _: job.cancel())
    assert result.getvalue() == b""


def test_a_job_cancelled_while_the_result_is_written_is_not_finished(room: Room, alice: Voice) -> None:
    job = Job()

    class Result(io.BytesIO):
        def write(self, data: Any) -> int:
            job.cancel()
            return super().write(data)

    with pytest.raises(Cancelled):
        convert_file(room.engine, room.task(alice), wav(np.concatenate([speech()] * 2)), Result(), job)


def test_what_is_left_open_is_settled(room: Room, alice: Voice) -> None:
    task = resolve(alice, ConversionParameters(), room.runner.pitch)
    assert task.pitch_algo == "fcpe"
    assert task.seed is not None
    with pytest.raises(MissingAsset, match="anivoice fetch rmvpe"):
        resolve(alice, ConversionParameters(pitch_extraction_algo="rmvpe"), room.runner.pitch)
    with pytest.raises(InvalidParameter, match="3 speakers"):
        resolve(alice, ConversionParameters(speaker_id=3), room.runner.pitch)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"RIFF", "cannot be decoded"), (b"<html>" * 100, "not audio"), (b"\0" * 5000, "not audio")],
)
def test_what_is_no_audio_is_refused(content: bytes, message: str) -> None:
    with Scratch() as scratch, pytest.raises(UndecodableAudio, match=message):
        decode(io.BytesIO(content), scratch, 16000, 10)


def test_empty_and_broken_samples_are_refused() -> None:
    with Scratch() as scratch, pytest.raises(UndecodableAudio, match="0 samples"):
        decode(wav(np.zeros(0, np.float32)), scratch, 16000, 10)
    with Scratch() as scratch, pytest.raises(UndecodableAudio, match="not numbers"):
        decode(wav(np.full(100, np.nan, np.float32), subtype="FLOAT"), scratch, 16000, 10)


def test_samples_that_overflow_on_the_way_are_refused() -> None:
    loud = np.sign(speech()) * np.float32(3.4e38)
    with Scratch() as scratch, pytest.raises(UndecodableAudio, match="far too large"):
        decode(wav(loud, 44100, subtype="FLOAT"), scratch, 16000, 10)


def test_a_voice_that_gives_no_numbers_is_told(room: Room, alice: Voice) -> None:
    class Broken(Engine):
        def submit(self, request: Request, job: Job, deadline_s: float | None = None) -> "Future[Any]":
            if isinstance(request, WindowRequest):
                request = replace(request, samples=np.full_like(request.samples, np.nan))
            return room.engine.submit(request, job, deadline_s)

    with pytest.raises(InvalidModelFile, match="voice alice gives values that are not numbers"):
        convert_file(Broken(room.runner), room.task(alice), wav(speech()), io.BytesIO(), Job())


@pytest.mark.parametrize("fmt", ["wav", "flac", "ogg", "mp3"])
def test_less_than_half_a_sample_becomes_one(room: Room, alice: Voice, fmt: str) -> None:
    task = ConversionTask(
        alice, ConversionParameters(), "pm", 3, output_format=check_output(fmt, 48000), output_rate_hz=48000
    )
    got, _ = convert(room, task, wav(np.full(1, 0.1, np.float32), 192000))
    assert len(got) == 1


def test_too_long_a_recording_is_refused() -> None:
    with Scratch() as scratch, pytest.raises(TooLarge, match="10 s"):
        decode(wav(np.zeros(11 * 8000, np.float32), 8000), scratch, 16000, 10)


def test_output_rates_that_a_format_cannot_hold_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="mp3 knows"):
        check_output("mp3", 40000)
    with pytest.raises(InvalidParameter, match="aac"):
        check_output("aac", 48000)
    with pytest.raises(InvalidParameter, match="7999"):
        check_output("wav", 7999)


@pytest.mark.parametrize(
    ("output_format", "asked_hz", "voice_rate_hz", "rate_hz"),
    [
        ("wav", None, 40000, 40000),
        ("mp3", None, 40000, 44100),
        ("mp3", None, 32000, 32000),
        ("mp3", None, 96000, 48000),
        ("mp3", 16000, 40000, 16000),
    ],
)
def test_output_rate(output_format: OutputFormat, asked_hz: int | None, voice_rate_hz: int, rate_hz: int) -> None:
    assert resolve_output_rate(output_format, asked_hz, voice_rate_hz) == rate_hz


def test_windows_of_a_long_recording_cover_it_without_gap() -> None:
    rng = np.random.default_rng(1)
    for length in (16000 * 24, 16000 * 24 + 1, 16000 * 100 + 13):
        samples = rng.standard_normal(length).astype(np.float32)
        cuts = find_cuts(samples, DEFAULT_PROFILE)
        segments = plan_exact(length, cuts, DEFAULT_PROFILE)
        assert sum(s.num_frames for s in segments) == -(-length // 160)
        position = 0
        for segment in segments:
            assert segment.window_start == position - DEFAULT_PROFILE.pad_samples
            assert (
                content_frames(segment.window_stop - segment.window_start) >= segment.first_frame + segment.num_frames
            )
            position += segment.num_frames * 160


def test_the_reference_loses_frames_at_the_end() -> None:
    (segment,) = plan_reference(40961, [], Profile(1, 6, 38, 41))
    assert segment.num_frames == 254


def test_reflection_is_numpys() -> None:
    samples = np.arange(7, dtype=np.float32)
    padded = np.pad(samples, 30, mode="reflect")
    for start, stop in ((-30, 37), (-3, 2), (0, 7), (5, 20), (10, 12)):
        np.testing.assert_array_equal(read_reflected(samples, start, stop), padded[start + 30 : stop + 30])
    np.testing.assert_array_equal(read_reflected(samples[:1], -3, 4), np.zeros(7))


def test_scratch_is_nameless_and_reads_back() -> None:
    before = set(Path(tempfile.gettempdir()).iterdir())
    with Scratch() as scratch:
        scratch.append(np.arange(5, dtype=np.float32))
        scratch.append(np.arange(5, 9, dtype=np.float64))
        assert len(scratch) == 9
        assert scratch[2:7].tolist() == [2, 3, 4, 5, 6]
        assert [block.tolist() for block in scratch.blocks(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
        assert set(Path(tempfile.gettempdir()).iterdir()) == before


def test_silence_is_not_computed(room: Room, alice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    submit = room.engine.submit
    monkeypatch.setattr(room.engine, "submit", lambda request, job: (asked.append(request), submit(request, job))[1])
    got, rate_hz = convert(room, room.task(alice), wav(np.zeros(16000 * 300, np.float32), fmt="FLAC"))
    assert asked == []
    assert len(got) == 300 * rate_hz
    assert not got.any()
    spoken = np.concatenate([np.zeros(16000 * 200, np.float32), speech(), np.zeros(16000 * 200, np.float32)])
    got, _ = convert(room, room.task(alice), wav(spoken))
    windows = [request for request in asked if isinstance(request, WindowRequest)]
    assert 1 <= len(windows) <= 2, "those in which somebody speaks"
    assert np.abs(got[200 * rate_hz :][: len(speech()) * rate_hz // 16000]).max() > 0.01

"""Recordings: what is refused, what is warned of, how they are cut, and how features are brought to their timing."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from anivoice.errors import InvalidParameter, UndecodableAudio
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.training import voice_checks as checks
from anivoice.training.parallel import align, cosine_distance, parallel_views
from anivoice.training.product_frames import content_frames, pitch_frames, warped_content_frames
from anivoice.training.voice_audio import (
    LOUDNESS_DB,
    Recording,
    find_recordings,
    frame_levels_db,
    normalised,
    read_recording,
    slices,
)
from anivoice.training.voice_network import SMALL_32K
from anivoice.training.voice_prepare import Preparation, check_folder, prepare_folder

RATE_HZ = 16000
CPU = torch.device("cpu")


def buzz(seconds: float, f0_hz: float = 150.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Harmonics up to half the rate, in syllables."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    harmonics = range(1, int(rate_hz / 2 / f0_hz))
    wave = sum(np.sin(2 * np.pi * f0_hz * h * t) / h for h in harmonics) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    return (0.1 * wave).astype(np.float32)


def recording(samples: np.ndarray, rate_hz: int = RATE_HZ) -> Recording:
    return Recording("take one", samples.astype(np.float32), rate_hz)


class TestChecks:
    def test_good_speech_passes(self) -> None:
        checks.check_recording(recording(buzz(2)))

    @pytest.mark.parametrize(
        ("samples", "rate_hz", "fault"),
        [
            (np.zeros(16000), 16000, "silent"),
            (1e-5 * buzz(1), 16000, "silent"),
            (np.zeros(0), 16000, "silent"),
            (buzz(1, rate_hz=8000), 8000, "sample rate of 8000"),
            ((8 * buzz(1)).clip(-1, 1), 16000, "clipped"),
            (buzz(1) * np.nan, 16000, "not numbers"),
        ],
    )
    def test_what_cannot_work_is_refused(self, samples: np.ndarray, rate_hz: int, fault: str) -> None:
        with pytest.raises(InvalidParameter, match=f"take one.*{fault}"):
            checks.check_recording(recording(samples, rate_hz))

    def test_one_sample_at_full_scale_is_not_clipping(self) -> None:
        samples = buzz(1)
        samples[100] = 1.0
        assert checks.clipped_share(recording(samples)) == 0

    def test_too_little_speech_is_refused_and_little_is_warned_of(self) -> None:
        with pytest.raises(InvalidParameter, match="only 5 s of speech"):
            checks.check_amount(5)
        assert "60 s" in checks.check_amount(60)[0]
        assert checks.check_amount(600) == []

    def test_silence_is_no_speech(self) -> None:
        assert checks.speech_seconds(recording(np.concatenate([buzz(1), np.zeros(48000)]))) == pytest.approx(1, abs=0.1)

    def test_dull_recordings_are_warned_of(self) -> None:
        dull = np.repeat(buzz(2, rate_hz=8000), 4)
        spectrum = np.fft.rfft(dull)
        spectrum[len(spectrum) // 4 :] = 0
        bandwidth_hz = checks.bandwidth_hz(recording(np.fft.irfft(spectrum), 32000))
        assert bandwidth_hz == pytest.approx(4000, abs=400)
        assert checks.dull_warning([bandwidth_hz], 32000)
        assert not checks.dull_warning([checks.bandwidth_hz(recording(buzz(2, rate_hz=32000), 32000))], 32000)

    def test_two_groups_of_pitches_are_two_speakers(self) -> None:
        assert "about 105 and 212 Hz" in checks.mixed_speakers_warning([100, 105, 110, 208, 216, 0])[0]
        assert checks.mixed_speakers_warning(list(np.geomspace(150, 260, 20))) == []
        assert checks.mixed_speakers_warning([0.0]) == []


class TestAudio:
    def test_folders_and_files_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidParameter, match="no folder"):
            find_recordings(tmp_path / "none")
        with pytest.raises(InvalidParameter, match="no audio files"):
            find_recordings(tmp_path)
        (tmp_path / "a.wav").write_bytes(b"not audio")
        with pytest.raises(UndecodableAudio, match=r"a\.wav"):
            read_recording(tmp_path / "a.wav")

    def test_speech_gets_the_same_loudness_whatever_the_pauses(self) -> None:
        for samples in (buzz(2), 0.1 * buzz(2), np.concatenate([buzz(2), np.zeros(64000, np.float32)])):
            made = normalised(recording(samples)).samples
            levels = frame_levels_db(made, RATE_HZ)
            assert 10 * np.log10(np.mean(10 ** (levels[levels > -60] / 10))) == pytest.approx(LOUDNESS_DB, abs=0.5)

    def test_slices_are_whole_frames_and_end_in_pauses(self) -> None:
        pause = np.zeros(RATE_HZ // 2, np.float32)
        samples = np.concatenate([np.zeros(RATE_HZ, np.float32), *[p for _ in range(4) for p in (buzz(6), pause)]])
        pieces = list(slices(recording(samples)))
        assert len(pieces) == 4
        for begin, piece in pieces:
            assert np.array_equal(samples[begin : begin + len(piece)], piece)
            assert len(piece) % 320 == 0
            assert 5.9 < len(piece) / RATE_HZ < 6.5
            assert np.abs(piece[-160:]).max() < 1e-3


@pytest.fixture(scope="module")
def encoder(h768_hf_dir: Path) -> ContentEncoder:
    return ContentEncoder.load(h768_hf_dir, CPU, torch.float32)


class TestFrames:
    def test_the_frames_are_those_of_a_conversion(self, encoder: ContentEncoder) -> None:
        """The file path's own requests give the same window."""
        from anivoice.audio.segmentation import DEFAULT_PROFILE, high_pass, plan_exact, read_reflected

        samples = buzz(1.0)
        segment = plan_exact(len(samples), [], DEFAULT_PROFILE)[0]
        window = read_reflected(high_pass(samples), segment.window_start, segment.window_stop)
        content = encoder.encode(torch.from_numpy(window).float().unsqueeze(0), "v2")[0]
        assert segment.first_frame == 100
        ours = content_frames(samples, encoder, "v2")
        assert ours.shape == (50, 768)
        assert torch.allclose(ours, content[50:100], atol=1e-4)

    def test_pitch_frames_stand_at_their_times(self) -> None:
        samples = np.concatenate([buzz(0.5, 120), buzz(0.5, 240)])
        f0 = pitch_frames(samples, PitchExtractor(Path(), CPU, torch.float32), "pm")
        assert f0.shape == (100,)
        assert float(f0[20:40].median()) == pytest.approx(120, rel=0.01)
        assert float(f0[60:80].median()) == pytest.approx(240, rel=0.01)

    def test_a_warped_copy_keeps_the_timing(self, encoder: ContentEncoder) -> None:
        """Played at its own speed, the copy is the recording itself."""
        samples = buzz(1.0)
        same = warped_content_frames(samples, encoder, "v2", 1.0)
        assert torch.allclose(same, content_frames(samples, encoder, "v2"), atol=1e-4)
        assert warped_content_frames(samples, encoder, "v2", 1.2).shape == (50, 768)

    def test_a_warp_of_time_is_found(self) -> None:
        rng = np.random.default_rng(0)
        content = torch.from_numpy(rng.standard_normal((40, 8)).astype(np.float32))
        places = np.minimum((np.arange(60) * 40) // 60, 39)
        chosen, distance = align(cosine_distance(content[torch.from_numpy(places)], content))
        assert np.array_equal(chosen, places)
        assert distance < 0.1

    def test_other_speakers_are_looked_up_by_name(self, encoder: ContentEncoder, tmp_path: Path) -> None:
        samples = buzz(1.0)
        soundfile.write(tmp_path / "one.wav", samples, RATE_HZ)
        own = content_frames(samples, encoder, "v2")
        views = parallel_views([tmp_path], encoder, "v2", 2)
        found, filler = views("one", 0.0, own)
        assert found.shape == own.shape
        assert torch.equal(filler, own)
        assert torch.equal(views("two", 0.0, own)[0], own)


def test_a_folder_becomes_slices_and_a_second_time_costs_nothing(tmp_path: Path) -> None:
    folder, cache = tmp_path / "in", tmp_path / "cache"
    folder.mkdir()
    for name, f0_hz in (("a", 110.0), ("b", 230.0), ("c", 240.0)):
        soundfile.write(folder / f"{name}.wav", buzz(9, f0_hz), RATE_HZ)
    pitch = PitchExtractor(Path(), CPU, torch.float32)
    preparation = Preparation(SMALL_32K, None, pitch, "pm")
    warnings = prepare_folder(folder, cache, preparation, lambda _: None)
    assert [text.split(":")[0][:30] for text in warnings] == [
        "there are only 27 s of speech",
        "the recordings hold nothing ab",
        "the recordings' pitch falls in",
    ][: len(warnings)]
    assert len(warnings) == 3
    stamps = {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")}
    assert len(stamps) == 6
    prepare_folder(folder, cache, preparation, lambda _: None)
    assert stamps == {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")}


def test_a_fault_in_any_file_is_told_before_anything_is_made(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", buzz(30), RATE_HZ)
    soundfile.write(tmp_path / "mute.wav", np.zeros(16000), RATE_HZ)
    with pytest.raises(InvalidParameter, match="mute is silent"):
        check_folder(tmp_path, 32000)

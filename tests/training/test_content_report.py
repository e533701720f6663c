"""The report counts what is right, and the probe finds who speaks where that can be found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from models.small_encoders import tiny_encoder
from training_corpora import write_corpus

from anivoice.training.content_report import HeardClip, class_accuracy, confusions, hear, phone_accuracy, speaker_probe
from anivoice.training.manifest import Clip, read_manifest


def _heard(person: str, phone: list[int], guess: list[int], features: torch.Tensor | None = None) -> HeardClip:
    clip = Clip(Path("x"), "x", person, "v", "e", "t", 1.0, "heldout", ())
    made = torch.zeros(len(phone), 4) if features is None else features
    return HeardClip(clip, made, np.array(guess), np.array(phone))


def test_accuracy_counts_known_speech_only() -> None:
    heard = [_heard("a", [0, 1, 1, -1, 2], [5, 1, 3, 1, 2]), _heard("b", [1, 1], [1, 1])]
    assert phone_accuracy(heard) == {"a": pytest.approx(2 / 3), "b": 1.0}
    assert class_accuracy(heard)["silence"] == 0.0
    assert class_accuracy(heard)["vowels"] == pytest.approx(4 / 5)
    assert confusions(heard, 1) == {"SIL>AW": 1.0}


def test_the_probe_finds_a_speaker_that_shows_and_no_other() -> None:
    generator = torch.Generator().manual_seed(0)

    def clips(offset: float) -> list[HeardClip]:
        return [
            _heard(person, [1] * 400, [1] * 400, torch.randn(400, 4, generator=generator) + offset * (person == "a"))
            for person in ("a", "b")
            for _ in range(4)
        ]

    assert speaker_probe(clips(6.0))["frame"] > 0.95
    hidden = speaker_probe(clips(0.0))
    assert hidden["frame"] < 0.6
    assert hidden["chance"] == 0.5


def test_an_encoder_hears_a_clip_frame_by_frame(tmp_path: Path) -> None:
    clip = read_manifest(write_corpus(tmp_path, 1))[0]
    (heard,) = hear(tiny_encoder(), [clip])
    assert heard.features.shape == ((16000 - 400) // 160 // 2 + 1, 40)
    assert heard.guess.shape == heard.phone.shape == heard.features.shape[:1]
    assert heard.is_speech.sum() == pytest.approx(0.75 * 50, abs=2)

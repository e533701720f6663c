"""Recordings of people: who is kept for judging, which jobs they make, how the aligner learns their names."""

from pathlib import Path

import pytest

from training.corpus.people import NUM_HELD_OUT, held_out, learn_words, read_recordings
from training.corpus.plan import PEOPLE, echo_job, people_jobs

HEADER = "path\tsource\tspeaker\tsex\tseconds\tlicence\ttext\ttext_source\ttext_logprob"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Thirty women and thirty men of one collection with two sentences each, and a crowd of unknown sex."""
    lines = [HEADER]
    for number in range(60):
        sex = "FM"[number % 2]
        for sentence in ('SHE HAD A "DARK" SUIT', "DON'T ASK"):
            name = f"vctk/p{number}_{len(lines)}.flac"
            lines.append(f"{name}\tVCTK\tp{number}\t{sex}\t2.0\tCC-BY-4.0\t{sentence}\tgiven\t")
    lines.append("crowd/a.opus\tsome\tcrowd\t\t2.0\tApache-2.0\tTWO COFFEES\tgiven\t")
    lines.append("crowd/b.opus\tsome\tcrowd\t\t2.0\tApache-2.0\t\tnone\t")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return tmp_path


def test_as_many_women_as_men_are_held_out_and_always_the_same(speech: Path) -> None:
    recordings = read_recordings(speech)
    kept = held_out(recordings)
    assert (
        sorted(recordings[person][0].sex for person in kept)
        == ["F"] * NUM_HELD_OUT["vctk"] + ["M"] * NUM_HELD_OUT["vctk"]
    )
    backwards = dict(reversed(recordings.items()))
    assert held_out(backwards) == kept


def test_recordings_without_a_text_are_left_out_and_quotes_are_text(speech: Path) -> None:
    recordings = read_recordings(speech)
    assert [one.text for one in recordings["crowd crowd"]] == ["TWO COFFEES"]
    assert recordings["vctk p0"][0].text == 'SHE HAD A "DARK" SUIT'


def test_nobody_trains_on_who_is_held_out(speech: Path) -> None:
    jobs = list(people_jobs(speech))
    kept = held_out(read_recordings(speech))
    assert {job.voice.person for job in jobs if job.split == PEOPLE} == kept
    assert {job.split for job in jobs} == {PEOPLE, "train"}
    ids = [text_id for job in jobs for text_id in job.texts]
    assert len(ids) == len(set(ids)) == 121
    echoed = echo_job(speech, 0.5).texts
    assert echoed.keys() <= {text_id for job in jobs if job.split == "train" for text_id in job.texts}
    assert len(echoed) == 57


class Dictionary:
    """An aligner that knows one word."""

    def __init__(self) -> None:
        self.words = {"ask": "AE S K"}

    def lookup_word(self, word: str) -> str | None:
        return self.words.get(word)

    def add_word(self, word: str, phones: str, update: bool) -> None:
        assert update
        self.words[word] = phones


class Engine:
    """Says the same to everything."""

    def say(self, voice: str, text: str, *settings: int) -> tuple[bytes, list[tuple[str, float, float]]]:
        return b"", [("_:", 0.0, 0.1), ("dZ", 0.1, 0.2), ("oU", 0.2, 0.3), ("?", 0.3, 0.4)]


def test_the_aligner_learns_what_its_dictionary_lacks() -> None:
    dictionary = Dictionary()
    learn_words(dictionary, Engine(), "ASK JOE")  # type: ignore[arg-type]
    assert dictionary.words == {"ask": "AE S K", "joe": "JH OW"}

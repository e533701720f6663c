"""Recordings of many people, in a folder with a `manifest.tsv`: aligned to their texts, some people kept for judging.

The columns that are read: `path` (from the folder), `source`, `speaker`, `sex` (F, M or nothing), `licence`, `text`.
A recording without a text is left out.
"""

import csv
import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anivoice.training.phones import SILENCE, UNKNOWN
from training.corpus.aligned import align
from training.corpus.phone_maps import ESPEAK, to_arpabet
from training.corpus.speech import Spoken
from training.corpus.text import words_of

if TYPE_CHECKING:
    from pocketsphinx import Decoder

    from training.corpus.espeak import EspeakLibrary

NUM_HELD_OUT = {"librispeech": 10, "speechocean762": 6, "vctk": 2}
"""Women, and as many men, of each collection that are kept for judging: those whose names have the smallest hashes."""


@dataclass(frozen=True)
class Recording:
    """One line of the manifest; `collection` is the folder that it lies in."""

    path: Path
    collection: str
    speaker: str
    sex: str
    licence: str
    text: str

    @property
    def person(self) -> str:
        return f"{self.collection} {self.speaker}"


def read_recordings(folder: Path) -> dict[str, list[Recording]]:
    """The recordings with a text, by person."""
    people: dict[str, list[Recording]] = defaultdict(list)
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            path = folder / row["path"]
            collection = Path(row["path"]).parts[0]
            one = Recording(path, collection, row["speaker"], row["sex"], row["licence"], row["text"])
            if one.text:
                people[one.person].append(one)
    return people


def held_out(people: Mapping[str, Sequence[Recording]]) -> set[str]:
    """Who is kept for judging: of each collection and sex the NUM_HELD_OUT people with the smallest hashes."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for person, recordings in people.items():
        groups[recordings[0].collection, recordings[0].sex].append(person)
    chosen: set[str] = set()
    for (collection, sex), group in groups.items():
        if sex:
            chosen.update(sorted(group, key=_hash)[: NUM_HELD_OUT.get(collection, 0)])
    return chosen


def _hash(person: str) -> str:
    return hashlib.sha256(person.encode()).hexdigest()


def speak(
    decoder: "Decoder",
    library: "EspeakLibrary",
    recordings: Mapping[str, Recording],
    directory: Path,
) -> Iterator[tuple[str, Spoken]]:
    """Copies the recordings to `directory` and aligns them."""
    directory.mkdir(parents=True, exist_ok=True)
    for text_id, recording in recordings.items():
        path = directory / recording.path.name
        shutil.copy(recording.path, path)
        learn_words(decoder, library, recording.text)
        segments = align(decoder, path, recording.text)
        if segments:
            yield text_id, Spoken(path, segments)


def learn_words(decoder: "Decoder", library: "EspeakLibrary", text: str) -> None:
    """Gives the aligner the words that its dictionary lacks, such as names, as eSpeak NG says them."""
    for word in words_of(text):
        if decoder.lookup_word(word) is None:
            _, sounds = library.say("en-us", word, 160, 50, 50)
            phones = [phone for phone, _, _ in to_arpabet(sounds, ESPEAK) if phone not in {SILENCE, UNKNOWN}]
            if phones:
                decoder.add_word(word, " ".join(phones), True)

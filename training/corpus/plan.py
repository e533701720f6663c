"""Who says what: the voices with their licences, the splits by person and by sentence, the jobs of each part."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from training.corpus import foreign, people, recordings, voices
from training.corpus.speech import Segment, Spoken
from training.corpus.text import read_lexicon, sentences
from training.corpus.voices import Voice, festival_voice

PARTS = ("target", "heldout", "judge", "train", "real")
PEOPLE, ECHO = "people", "echo"
"""The parts that are made of recordings, where a folder of them is given: what people say, and the shipped voice saying
the same."""
SEED = 20260
NUM_SENTENCES = 3200
NUM_HELD_OUT = 120
"""Sentences that nobody says in a part that is trained on."""
NUM_TARGET = 900
"""Sentences of the shipped voice: about forty minutes."""
NUM_TARGET_HELD_OUT = 40
JUDGE_SENTENCES = Path(__file__).with_name("judge_sentences.txt")
"""Sayings of Debian's `fortunes`, none of them in any other part: what voices are judged on."""

NUM_PER_ESPEAK_VOICE = 22

TARGET_LICENCE = "us-slt-hts: CMU 2003, Festival's licence; HTS engine and data: BSD-3 (Nagoya Institute of Technology)"


@dataclass(frozen=True)
class Job:
    """A voice and its sentences by id, all of one split."""

    name: str
    voice: Voice
    split: str
    texts: Mapping[str, str]

    def speak(self, texts: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Spoken]]:
        return self.voice.speak(texts, directory)

    def shortened(self, share: float) -> "Job":
        """With the first `share` of the sentences, one at least."""
        count = max(round(share * len(self.texts)), 1)
        return replace(self, texts=dict(islice(self.texts.items(), count)))


def corpus_texts(lexicon_path: Path | None) -> dict[str, str]:
    """All sentences by id, held-out ones first: `h000`..., then `s0000`..."""
    if lexicon_path is None:
        import pocketsphinx

        lexicon_path = Path(pocketsphinx.__file__).parent / "model" / "en-us" / "cmudict-en-us.dict"
    texts = sentences(read_lexicon(lexicon_path), NUM_SENTENCES + NUM_HELD_OUT, SEED)
    held_out = {f"h{number:03d}": text for number, text in enumerate(texts[:NUM_HELD_OUT])}
    return {**held_out, **{f"s{number:04d}": text for number, text in enumerate(texts[NUM_HELD_OUT:])}}


def judge_texts() -> dict[str, str]:
    """Sentences by id: `j00`..."""
    lines = JUDGE_SENTENCES.read_text("utf-8").splitlines()
    return {f"j{number:02d}": text for number, text in enumerate(lines)}


TARGET = festival_voice("cmu_us_slt_arctic_hts", "slt", TARGET_LICENCE)


def all_jobs(part: str, texts: Mapping[str, str], out: Path) -> Iterator[Job]:
    """The jobs of one of PARTS. The corpus in `out` lends times to voices that have none of their own."""
    held_out = {text_id: text for text_id, text in texts.items() if text_id.startswith("h")}
    trained = {text_id: text for text_id, text in texts.items() if text_id.startswith("s")}
    if part == "target":
        yield Job("target_train", TARGET, "target_train", _some(trained, 0, NUM_TARGET))
        yield Job("target_heldout", TARGET, "target_heldout", _some(held_out, 0, NUM_TARGET_HELD_OUT))
    elif part == "heldout":
        for name, voice in voices.held_out_voices():
            yield Job(name, voice, "heldout", held_out)
    elif part == "judge":
        for name, voice in [("slt", TARGET), *voices.held_out_voices()]:
            yield Job(f"judge_{name}", voice, "judge", judge_texts())
    elif part == "real":
        for name, voice in voices.recordings_of_people():
            yield Job(name, voice, "real", recordings.transcripts(name))
    else:
        yield Job("target_more", TARGET, "reference", _some(trained, NUM_TARGET, len(trained) - NUM_TARGET))
        yield from _training_jobs(trained, out)


def people_jobs(speech: Path) -> Iterator[Job]:
    """A job for each person in a folder of recordings; those who are held out are in the split `people`."""
    everybody = people.read_recordings(speech)
    kept = people.held_out(everybody)
    for person, recordings_of_one in sorted(everybody.items()):
        by_id = {f"{one.collection}_{one.path.stem}": one for one in recordings_of_one}
        voice = voices.person_voice(person, by_id)
        split = PEOPLE if person in kept else "train"
        texts = {text_id: one.text for text_id, one in by_id.items()}
        yield Job(f"{PEOPLE}_{person.replace(' ', '_')}", voice, split, texts)


def echo_job(speech: Path, share: float) -> Job:
    """The shipped voice says a share of what each person says who is trained on, each text under the recording's id."""
    texts: dict[str, str] = {}
    for job in people_jobs(speech):
        if job.split == "train":
            texts |= job.shortened(share).texts
    return Job(ECHO, TARGET, "reference", {text_id: text.lower() for text_id, text in texts.items()})


def _training_jobs(texts: Mapping[str, str], out: Path) -> Iterator[Job]:
    timings_voice = voices.english_voices()[0]
    first = 0
    for name, voice, count in voices.english_voices():
        yield Job(name, voice, "train", _some(texts, first, count))
        first += count
    timings = read_timings(out / "manifest.d" / f"{timings_voice[0]}.jsonl")
    for name, voice, count in voices.borrowed_voices(timings):
        yield Job(name, voice, "train", _some({key: texts[key] for key in timings}, first, count))
        first += count
    for name, voice in voices.espeak_voices():
        yield Job(name, voice, "train", _some(texts, first, NUM_PER_ESPEAK_VOICE))
        first += NUM_PER_ESPEAK_VOICE
    for name, voice, count in voices.aligned_voices():
        yield Job(name, voice, "train", _some(texts, first, count))
        first += count
    for name, voice, count in voices.more_borrowed_voices(timings):
        yield Job(name, voice, "train", _some({key: texts[key] for key in timings}, first, count))
        first += count
    for name, voice, tongue, count in voices.foreign_voices():
        yield Job(name, voice, "train", foreign.sentences(tongue, count))


def _some(texts: Mapping[str, str], first: int, count: int) -> dict[str, str]:
    """`count` of the sentences from number `first` on, beginning anew at the end."""
    items = list(texts.items())
    return dict(items[(first + number) % len(items)] for number in range(min(count, len(items))))


def read_timings(shard: Path) -> dict[str, tuple[Segment, ...]]:
    """Phones with times by sentence, of one part of the manifest."""
    lines = map(json.loads, shard.read_text("utf-8").splitlines())
    return {line["text_id"]: tuple((phone, begin, end) for phone, begin, end in line["phones"]) for line in lines}

"""The utterances a voice is judged on: folders with transcripts, or lines of a manifest."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from anivoice.errors import InvalidParameter
from anivoice.training.voice_audio import AUDIO_SUFFIXES

SPHINX_LINE = re.compile(r"^(.*?)\(([^()]+)\)\s*$")
SPHINX_NAMES = ("*transcription",)


@dataclass(frozen=True)
class Utterance:
    """One file and what is said in it; `speaker` and `sex` (F, M) are empty where nobody says."""

    path: Path
    text: str
    speaker: str = ""
    sex: str = ""

    def at_rate(self, rate_hz: int) -> NDArray[np.float32]:
        """Mono, resampled."""
        samples, own_hz = soundfile.read(self.path, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1, dtype=np.float32)
        return mono if own_hz == rate_hz else np.asarray(soxr.resample(mono, own_hz, rate_hz), np.float32)


@dataclass(frozen=True)
class JudgedSet:
    """Named utterances of one kind."""

    name: str
    utterances: list[Utterance]


def read_set(text: str, max_utterances: int) -> JudgedSet:
    """From `NAME=FOLDER` or `NAME=MANIFEST.jsonl?key=value&key=value`.

    A folder holds audio files and, beside each, a `.txt` of the same name, or one Sphinx file named `*transcription`.
    A manifest's lines are JSON objects with `path` (from the manifest's folder) and `text`; those are taken whose other
    entries have the given values. Raises InvalidParameter.
    """
    name, _, place = text.partition("=")
    if not name or not place:
        raise InvalidParameter(f"--set {text!r}: write NAME=FOLDER or NAME=MANIFEST.jsonl?key=value")
    place, _, conditions = place.partition("?")
    path = Path(place)
    if path.suffix == ".jsonl":
        found = list(_from_manifest(path, conditions))
    elif path.is_dir():
        found = list(_from_folder(path))
    else:
        raise InvalidParameter(f"--set {name}: there is no folder or manifest {path}")
    if not found:
        raise InvalidParameter(f"--set {name}: {place} holds no audio with a transcript that fits {conditions!r}")
    return JudgedSet(name, found[:max_utterances])


def _from_manifest(path: Path, conditions: str) -> Iterator[Utterance]:
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"--set: {path} cannot be read as JSON lines ({error})") from error
    wanted = dict(pair.partition("=")[::2] for pair in conditions.split("&") if pair)
    for line in lines:
        if all(str(line.get(key)) == value for key, value in wanted.items()):
            speaker, sex = (str(line.get(key, "")) for key in ("person", "sex"))
            yield Utterance(path.parent / line["path"], str(line["text"]), speaker, sex)


def _from_folder(folder: Path) -> Iterator[Utterance]:
    texts = dict(_sphinx_texts(folder))
    for path in sorted(folder.iterdir()):
        beside = path.with_suffix(".txt")
        if path.suffix.lower() in AUDIO_SUFFIXES and (path.stem in texts or beside.is_file()):
            yield Utterance(path, texts.get(path.stem) or beside.read_text("utf-8"))


def _sphinx_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """File stem and words of lines such as `<s> ten of clubs </s> (001)`."""
    for pattern in SPHINX_NAMES:
        for file in folder.glob(pattern):
            for line in file.read_text("utf-8").splitlines():
                match = SPHINX_LINE.match(line)
                if match is not None:
                    yield match[2].strip(), re.sub(r"</?s>", " ", match[1]).strip()

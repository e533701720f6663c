"""The manifest of a speech corpus: `manifest.jsonl`, one utterance a line, as `training/corpus` writes it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anivoice.errors import InvalidParameter
from anivoice.training.phones import INDEX_OF_PHONE, SILENCE, UNKNOWN

UNKNOWN_INDEX = -1


@dataclass(frozen=True)
class Clip:
    """One utterance, `name` its path in the corpus.

    `phones` as (phone, begin, end) in seconds; `text_id` is shared by all who say the sentence.
    """

    path: Path
    name: str
    person: str
    voice: str
    engine: str
    text_id: str
    seconds: float
    split: str
    phones: tuple[tuple[str, float, float], ...]

    def phones_at(self, seconds: NDArray[np.float64]) -> NDArray[np.int16]:
        """Index of the phone at each time, UNKNOWN_INDEX where it is not known, silence after the last one."""
        ends = np.array([end for _, _, end in self.phones])
        indices = [INDEX_OF_PHONE.get(phone, UNKNOWN_INDEX) for phone, _, _ in self.phones]
        table = np.array([*indices, INDEX_OF_PHONE[SILENCE]], dtype=np.int16)
        return table[np.searchsorted(ends, seconds, side="right")]


def read_manifest(corpus: Path) -> list[Clip]:
    """All utterances. Raises InvalidParameter that names the line at fault."""
    path = corpus / "manifest.jsonl"
    if not path.is_file():
        raise InvalidParameter(f"corpus: {corpus} holds no manifest.jsonl; make one with training/corpus")
    lines = path.read_text("utf-8").splitlines()
    return [_parse(line, number, corpus) for number, line in enumerate(lines, 1)]


def _parse(line: str, number: int, corpus: Path) -> Clip:
    try:
        values = json.loads(line)
        phones = tuple((str(phone), float(begin), float(end)) for phone, begin, end in values["phones"])
        unknown = {phone for phone, _, _ in phones} - INDEX_OF_PHONE.keys() - {UNKNOWN}
        if unknown:
            raise ValueError(f"unknown phones {', '.join(sorted(unknown))}")
        return Clip(
            corpus / str(values["path"]),
            name=str(values["path"]),
            person=str(values["person"]),
            voice=str(values["voice"]),
            engine=str(values["engine"]),
            text_id=str(values["text_id"]),
            seconds=float(values["seconds"]),
            split=str(values["split"]),
            phones=phones,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidParameter(f"corpus: line {number} of manifest.jsonl cannot be read ({error!r})") from error

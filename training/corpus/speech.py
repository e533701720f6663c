"""What an engine gives for a sentence: a wave file and who said what when."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

Segment = tuple[str, float, float]
"""Phone, and begin and end in seconds."""


@dataclass(frozen=True)
class Utterance:
    """A line of the manifest. `path` is relative to the corpus; `text_id` is the same for all who say the sentence;
    `sex` is F, M or empty."""

    path: str
    engine: str
    voice: str
    person: str
    text_id: str
    text: str
    seconds: float
    sample_rate_hz: int
    phones: tuple[Segment, ...]
    licence: str
    split: str
    sex: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Spoken:
    """One sentence in the engine's own phones."""

    path: Path
    segments: tuple[Segment, ...]


def read_segments(path: Path) -> tuple[Segment, ...]:
    """Lines `phone end` with seconds, as festival and flite give them."""
    segments: list[Segment] = []
    begin = 0.0
    for line in path.read_text("utf-8").splitlines():
        phone, end = line.split()
        segments.append((phone, begin, float(end)))
        begin = float(end)
    return tuple(segments)

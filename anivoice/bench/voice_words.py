"""Words that were said, that are heard in the source, and that are heard in what became of it."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from anivoice.bench.voice_measures import word_errors


@dataclass(frozen=True)
class WordCounts:
    """Of some utterances. `num_lost` counts the differences between what is heard in the source and in the result."""

    num_words: int = 0
    source_errors: int = 0
    made_errors: int = 0
    num_heard: int = 0
    num_lost: int = 0

    @classmethod
    def of(cls, spoken: Sequence[str], heard_source: Sequence[str], heard_made: Sequence[str]) -> "WordCounts":
        """One utterance's."""
        return cls(
            len(spoken),
            word_errors(heard_source, spoken),
            word_errors(heard_made, spoken),
            len(heard_source),
            word_errors(heard_made, heard_source),
        )

    def __add__(self, other: "WordCounts") -> "WordCounts":
        return WordCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def report(self) -> dict[str, float | int]:
        """Shares of the words."""
        return {
            "words": self.num_words,
            "word_errors_source": self.source_errors / max(self.num_words, 1),
            "word_errors_made": self.made_errors / max(self.num_words, 1),
            "words_lost": self.num_lost / max(self.num_heard, 1),
        }

"""Two speakers who say the same sentence: who is where when."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

Segments = Sequence[tuple[str, float, float]]


def same_place(phones: Segments, reference_phones: Segments, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The times at which the reference speaker is where the first one is at `seconds`; NaN where it says other phones.

    Phones are matched as texts are compared; within a phone both go at their own even pace.
    """
    matcher = SequenceMatcher(None, [p for p, _, _ in phones], [p for p, _, _ in reference_phones], autojunk=False)
    places = np.full(len(seconds), np.nan)
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            _, begin, end = phones[block.a + offset]
            _, reference_begin, reference_end = reference_phones[block.b + offset]
            inside = (seconds >= begin) & (seconds < end)
            share = (seconds[inside] - begin) / (end - begin)
            places[inside] = reference_begin + share * (reference_end - reference_begin)
    return places

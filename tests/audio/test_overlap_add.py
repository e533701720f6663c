"""Seams: the offset is that of the plain search over the whole range, and nothing jumps."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anivoice.audio.overlap_add import AGREEMENT, OverlapAdd

BLOCK, CROSSFADE, SEARCH = 600, 300, 240
Samples = NDArray[np.float32]


def plain_offset(seams: OverlapAdd, window: Samples) -> int:
    """SPEC 11.5 and the pull, offset by offset."""
    tail = seams.tail.astype(np.float64)
    scores = []
    for offset in range(SEARCH + 1):
        part = window[offset : offset + CROSSFADE].astype(np.float64)
        scores.append(part @ tail / np.sqrt(part @ part + 1e-8) - seams.penalty[offset] * np.linalg.norm(tail))
    return int(np.argmax(scores))


@pytest.mark.parametrize("pull", [0.0, 0.05, 1.0])
@given(seed=st.integers(0, 1000), mismatch=st.sampled_from([0.0, 0.01, 0.1, 0.5, 5.0]), shift=st.integers(-90, 90))
def test_the_search_finds_what_a_plain_one_finds(pull: float, seed: int, mismatch: float, shift: int) -> None:
    random = np.random.default_rng(seed)
    signal = np.convolve(random.normal(0, 0.1, 4000), np.hanning(30), "same").astype(np.float32)
    seams = OverlapAdd(BLOCK, CROSSFADE, SEARCH, SEARCH // 2, pull)
    seams.feed(signal[:1140])
    second = (
        signal[BLOCK + shift : BLOCK + shift + 1140] if shift >= 0 else np.roll(signal, -shift)[BLOCK : BLOCK + 1140]
    )
    window = (second + mismatch * random.normal(0, 0.1, 1140)).astype(np.float32)
    here = window[SEARCH // 2 :][:CROSSFADE].astype(np.float64)
    agree = here @ seams.tail / np.linalg.norm(here) / np.linalg.norm(seams.tail)
    assume(pull == 0 or agree < AGREEMENT - 1e-4)
    assert seams.best_offset(window) == plain_offset(seams, window)


def test_windows_that_agree_where_they_stand_stay_there() -> None:
    """A period of 40 samples: every other offset that fits as well is left alone, after a splice, too."""
    signal = np.sin(np.arange(9000) * 2 * np.pi / 40).astype(np.float32)
    seams = OverlapAdd(BLOCK, CROSSFADE, SEARCH, SEARCH // 2, 0.05)
    seams.feed(signal[:1140])
    _, spliced = seams.feed(signal[BLOCK + 7 : BLOCK + 7 + 1140])
    assert spliced == SEARCH // 2 - 7
    offsets = [seams.feed(signal[at + 7 : at + 7 + 1140])[1] for at in range(2 * BLOCK, 6000, BLOCK)]
    assert set(offsets) == {spliced}
    seams.feed(np.zeros(1140, np.float32))
    seams.feed(np.zeros(1140, np.float32))
    assert seams.feed(signal[:1140])[1] == SEARCH // 2


def test_windows_of_one_signal_join_without_a_trace() -> None:
    signal = np.sin(np.arange(6000) / 20).astype(np.float32)
    seams = OverlapAdd(BLOCK, CROSSFADE, SEARCH, SEARCH // 2, 0.05)
    blocks = [seams.feed(signal[at : at + 1140])[0] for at in range(0, 4800, BLOCK)]
    np.testing.assert_allclose(np.concatenate(blocks[1:]), signal[SEARCH // 2 + BLOCK :][: 7 * BLOCK], atol=1e-6)


def test_silence_begins_where_nothing_speaks_against_it() -> None:
    seams = OverlapAdd(BLOCK, CROSSFADE, SEARCH, 7)
    assert seams.best_offset(np.ones(1140, np.float32)) == 7

"""The ring buffer against a list that forgets nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anivoice.audio.ring_buffer import RingBuffer


@given(st.integers(1, 50), st.lists(st.integers(0, 120), max_size=20), st.data())
def test_what_is_held_reads_as_it_was_written(capacity: int, lengths: list[int], data: st.DataObject) -> None:
    ring = RingBuffer(capacity)
    signal = np.arange(1, sum(lengths) + 1, dtype=np.float32)
    at = 0
    for length in lengths:
        ring.append(signal[at : at + length])
        at += length
    assert ring.end == at
    assert ring.start == at - capacity
    start = data.draw(st.integers(ring.start, ring.end))
    stop = data.draw(st.integers(start, ring.end))
    expected = np.concatenate([np.zeros(capacity, np.float32), signal])[start + capacity : stop + capacity]
    np.testing.assert_array_equal(ring.read(start, stop), expected)


def test_silence_before_the_beginning() -> None:
    ring = RingBuffer(5)
    ring.append(np.array([1, 2], np.float32))
    np.testing.assert_array_equal(ring.read(-3, 2), [0, 0, 0, 1, 2])


@pytest.mark.parametrize(("start", "stop"), [(2, 5), (7, 9), (5, 4), (-1, 3)])
def test_what_is_gone_or_not_there_yet_is_refused(start: int, stop: int) -> None:
    ring = RingBuffer(5)
    ring.append(np.arange(8, dtype=np.float32))
    with pytest.raises(ValueError, match="are not held; 3 to 8 are"):
        ring.read(start, stop)


def test_what_was_read_does_not_change_later() -> None:
    ring = RingBuffer(4)
    ring.append(np.ones(4, np.float32))
    read = ring.read(0, 4)
    ring.append(np.zeros(4, np.float32))
    np.testing.assert_array_equal(read, np.ones(4))


def test_reset_forgets_everything() -> None:
    ring = RingBuffer(4)
    ring.append(np.ones(9, np.float32))
    ring.reset()
    assert ring.end == 0
    np.testing.assert_array_equal(ring.read(-4, 0), np.zeros(4))


def test_a_buffer_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        RingBuffer(0)

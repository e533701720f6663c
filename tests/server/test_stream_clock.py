"""How old audio is, by the stream's own time, with a clock that obeys."""

import pytest

from anivoice.server.live.clock import StreamClock


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Stream:
    """A client that sends messages of 20 ms, and the server's clock for it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.own = StreamClock(self.clock)
        self.messages = []

    def hear(self, num_messages: int, seconds_between: float = 0.02) -> None:
        for _ in range(num_messages):
            self.clock.now_s += seconds_between
            self.own.begin_message()
            self.own.hear(0.02)
            self.messages.append(self.own.message)

    def ages_s(self) -> list[float]:
        return [self.clock.now_s - self.own.arrived_s(message) for message in self.messages]


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_what_comes_in_time_is_as_old_as_it_looks(stream):
    stream.hear(50)
    assert stream.ages_s() == pytest.approx([0.02 * (49 - number) for number in range(50)])
    assert stream.own.late_s == pytest.approx(0)


def test_what_was_not_read_for_a_while_is_old(stream):
    stream.hear(50)
    stream.messages.clear()
    stream.clock.now_s += 0.5
    stream.hear(25, seconds_between=0.0)
    assert stream.ages_s() == pytest.approx([0.02 * (24 - number) for number in range(25)])
    assert stream.own.late_s == pytest.approx(0)


def test_what_lies_in_the_socket_still_makes_the_stream_late(stream):
    stream.hear(50)
    stream.clock.now_s += 0.5
    stream.hear(8, seconds_between=0.0)
    assert stream.own.late_s == pytest.approx(0.5 - 0.16)


def test_after_a_pause_of_the_client_nothing_is_old(stream):
    stream.hear(50)
    stream.messages.clear()
    stream.clock.now_s += 5.0
    stream.hear(1)
    assert stream.ages_s() == [0.0]


def test_what_is_sent_faster_than_spoken_is_not_old(stream):
    stream.hear(100, seconds_between=0.001)
    assert stream.own.late_s < -1.8
    assert max(stream.ages_s()) == pytest.approx(0.099, abs=0.002)


def test_a_fast_clock_of_the_client_does_not_hide_a_stall(stream):
    """A thousandth fast for ten minutes would be 0.6 s ahead."""
    stream.hear(30000, seconds_between=0.01998)
    stream.messages.clear()
    stream.clock.now_s += 0.5
    stream.hear(25, seconds_between=0.0)
    assert max(stream.ages_s()) == pytest.approx(0.48, abs=0.03)


def test_after_a_reset_the_stream_begins_anew(stream):
    stream.hear(10)
    stream.clock.now_s += 3.0
    stream.own.reset()
    stream.hear(2, seconds_between=0.0)
    assert stream.own.late_s == pytest.approx(-0.02)

"""Whether the client is there, with a clock that obeys."""

import pytest

from anivoice.server.live.keepalive import DOUBT_SECONDS, Presence


class Clock:
    now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def presence(clock) -> Presence:
    presence = Presence(60, clock)
    presence.listen()
    return presence


def test_quiet_client_is_asked_and_then_given_up(presence, clock):
    assert not presence.needs_ping()
    clock.now_s += 31
    assert presence.needs_ping()
    clock.now_s += 30
    with pytest.raises(TimeoutError):
        presence.needs_ping()


def test_sign_of_life_counts(presence, clock):
    clock.now_s += 59
    presence.hear()
    presence.listen()
    clock.now_s += 29
    assert not presence.needs_ping()


def test_server_that_does_not_listen_hears_nothing(presence, clock):
    presence.hear()
    clock.now_s += 1000
    assert not presence.needs_ping()


def test_doubted_client_has_little_time(presence, clock):
    clock.now_s += 20
    presence.doubt()
    assert presence.needs_ping()
    clock.now_s += DOUBT_SECONDS / 2
    presence.doubt()
    clock.now_s += DOUBT_SECONDS / 2 + 0.1
    with pytest.raises(TimeoutError):
        presence.needs_ping()


def test_doubt_ends_with_a_sign_of_life(presence, clock):
    presence.doubt()
    presence.hear()
    presence.listen()
    clock.now_s += DOUBT_SECONDS + 1
    assert not presence.needs_ping()

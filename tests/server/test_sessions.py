"""Sessions, with a clock that obeys."""

import pytest

from anivoice.errors import NotFound, Unavailable
from anivoice.parameters import ConversionParameters
from anivoice.server.live.sessions import Sessions


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(max_sessions=2, ttl_s=10, clock=clock)


def test_session_keeps_its_own_parameters(sessions, clock):
    first = sessions.create(ConversionParameters(pitch_change=3))
    second = sessions.create(ConversionParameters(pitch_change=-3))
    assert sessions.find(first.session_id).parameters.pitch_change == 3
    assert sessions.find(second.session_id).parameters.pitch_change == -3
    assert (first.created_s, first.expires_s) == (50, 60)


def test_session_ends_at_its_time(sessions, clock):
    session = sessions.create(ConversionParameters())
    clock.now_s = 59.9
    assert sessions.find(session.session_id) is session
    clock.now_s = 60.0
    with pytest.raises(NotFound, match="expired"):
        sessions.find(session.session_id)


def test_sweeping_forgets_only_the_expired(sessions, clock):
    sessions.create(ConversionParameters())
    clock.now_s = 55.0
    kept = sessions.create(ConversionParameters())
    clock.now_s = 61.0
    sessions.sweep()
    assert len(sessions) == 1
    assert sessions.find(kept.session_id) is kept


def test_expired_sessions_make_room(sessions, clock):
    for _ in range(2):
        sessions.create(ConversionParameters())
    clock.now_s = 53.0
    with pytest.raises(Unavailable, match="2 sessions") as caught:
        sessions.create(ConversionParameters())
    assert caught.value.retry_after_s == 7
    clock.now_s = 60.0
    sessions.create(ConversionParameters())
    assert len(sessions) == 1


def test_removed_session_is_unknown(sessions):
    session = sessions.create(ConversionParameters())
    sessions.remove(session.session_id)
    sessions.remove(session.session_id)
    with pytest.raises(NotFound):
        sessions.find(session.session_id)


def test_message_shows_little_of_what_a_client_made_up(sessions):
    with pytest.raises(NotFound) as caught:
        sessions.find("x" * 5000)
    assert len(str(caught.value)) < 200


class Held:
    """A stream that has a share of the device, or none."""

    def __init__(self, has_share: bool) -> None:
        self.has_share = has_share

    def give_way(self) -> bool:
        had_share, self.has_share = self.has_share, False
        return had_share

    def close(self) -> None: ...


def test_who_waits_longest_to_come_back_gives_way_first_and_who_is_there_never(clock):
    sessions = Sessions(max_sessions=9, ttl_s=10, clock=clock)
    made = [sessions.create(ConversionParameters()) for _ in range(4)]
    for session, has_share in zip(made, [True, False, True, True], strict=True):
        sessions.attach(session.session_id).held = Held(has_share)
    for place in (2, 1, 0):
        clock.now_s += 1
        sessions.detach(made[place], may_return=True)
    assert sessions.give_way()
    assert [session.held.has_share for session in made] == [True, False, False, True]
    assert sessions.give_way()
    assert [session.held.has_share for session in made] == [False, False, False, True]
    assert not sessions.give_way()


def test_one_address_cannot_take_all_sessions_without_opening_them(clock):
    sessions = Sessions(max_sessions=9, ttl_s=10, clock=clock, max_unopened=2)
    first = sessions.create(ConversionParameters(), peer="192.0.2.1")
    clock.now_s += 3
    sessions.create(ConversionParameters(), peer="192.0.2.1")
    with pytest.raises(Unavailable, match="opened none") as caught:
        sessions.create(ConversionParameters(), peer="192.0.2.1")
    assert caught.value.retry_after_s == 7
    sessions.create(ConversionParameters(), peer="192.0.2.2")
    sessions.attach(first.session_id)
    sessions.create(ConversionParameters(), peer="192.0.2.1")

"""Streaming sessions: bounded, with a secret id, one connection at a time, and an end."""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from anivoice.errors import Conflict, NotFound, OverQuota, Unavailable
from anivoice.live.parameters import StreamParameters
from anivoice.server.auth import ANYBODY, Caller

ID_BYTES = 24
PUBLIC_ID_BYTES = 6
MAX_SHOWN_CHARS = 64
MAX_UNOPENED = 64
"""Sessions of one address that nobody has connected to yet: a quarter of all that the server has by default."""

RETRY_AFTER_SECONDS = 10.0
"""What a client is told when all sessions are connected: nobody knows when one of them ends."""


class Closable(Protocol):
    """What a session holds between two connections."""

    def give_way(self) -> bool:
        """Gives back the share of the device, until it is taken up again. False if it has none."""

    def close(self) -> None:
        """Gives back everything; may be called more than once."""


@dataclass(eq=False)
class StreamSession:
    """One client's stream. Times are of the clock that `Sessions` was given; connected ones do not expire."""

    session_id: str
    parameters: StreamParameters
    created_s: float
    expires_s: float
    caller_name: str = ""
    peer: str | None = None
    """Address of who made it."""
    was_opened: bool = False
    is_attached: bool = False
    held: Closable | None = None
    public_id: str = field(default_factory=lambda: secrets.token_hex(PUBLIC_ID_BYTES))
    """By which others may name it. The session's id is a secret: it opens the stream."""


class Sessions:
    """All sessions, connected or not. Belongs to the event loop."""

    def __init__(
        self,
        max_sessions: int,
        ttl_s: float,
        clock: Callable[[], float],
        grace_s: float = 15.0,
        max_unopened: int = MAX_UNOPENED,
    ) -> None:
        self.max_sessions = max_sessions
        self.max_unopened = max_unopened
        self.ttl_s = ttl_s
        self.grace_s = grace_s
        self._clock = clock
        self._sessions: dict[str, StreamSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def num_attached(self) -> int:
        """Sessions with a connection."""
        return sum(session.is_attached for session in list(self._sessions.values()))

    def check_room(self, caller: Caller = ANYBODY) -> None:
        """Raises Unavailable when there are `max_sessions`, with the time until the next one expires; OverQuota when
        the caller has all of his.
        """
        self.sweep()
        if sum(session.caller_name == caller.name for session in self._sessions.values()) >= caller.max_sessions:
            raise OverQuota(f"you have {caller.max_sessions} sessions, and no more are allowed at once", 10.0)
        if len(self._sessions) >= self.max_sessions:
            next_s = min(session.expires_s for session in self._sessions.values()) - self._clock()
            retry_after_s = next_s if math.isfinite(next_s) else RETRY_AFTER_SECONDS
            raise Unavailable(f"there are already {self.max_sessions} sessions; try again later", retry_after_s)

    def check_peer(self, peer: str | None) -> None:
        """Raises Unavailable when that address has made too many sessions that it did not open."""
        unopened = [one for one in self._sessions.values() if one.peer == peer and not one.was_opened]
        if peer is not None and len(unopened) >= self.max_unopened:
            retry_after_s = max(min(session.expires_s for session in unopened) - self._clock(), 0.0)
            raise Unavailable(
                f"you have made {len(unopened)} sessions and opened none of them; connect to one of those",
                retry_after_s,
            )

    def give_way(self) -> bool:
        """Of those who may come back, the one that has waited longest gives its share of the device to who is there.
        False if none has a share.
        """
        waiting = [one for one in self._sessions.values() if not one.is_attached]
        waiting.sort(key=lambda session: session.expires_s)
        return any(session.held is not None and session.held.give_way() for session in waiting)

    def create(self, parameters: StreamParameters, caller: Caller = ANYBODY, peer: str | None = None) -> StreamSession:
        """A new session, made by the address `peer`. Raises as `check_room` and `check_peer`."""
        self.check_room(caller)
        self.check_peer(peer)
        now_s = self._clock()
        session = StreamSession(
            secrets.token_urlsafe(ID_BYTES), parameters, now_s, now_s + self.ttl_s, caller.name, peer
        )
        self._sessions[session.session_id] = session
        return session

    def find(self, session_id: str) -> StreamSession:
        """Raises NotFound when there is no such session or it has expired."""
        session = self._sessions.get(session_id)
        if session is None or session.expires_s <= self._clock():
            shown = session_id if len(session_id) <= MAX_SHOWN_CHARS else session_id[:MAX_SHOWN_CHARS] + "..."
            raise NotFound(f"there is no session {shown!r}, or it has expired; POST /convert/stream makes a new one")
        return session

    def all(self) -> list[StreamSession]:
        """The oldest first, without the expired ones."""
        self.sweep()
        return list(self._sessions.values())

    def find_public(self, public_id: str) -> StreamSession:
        """Raises NotFound."""
        for session in self.all():
            if session.public_id == public_id:
                return session
        raise NotFound(f"there is no session {public_id[:MAX_SHOWN_CHARS]!r}; GET /sessions lists those there are")

    def age_s(self, session: StreamSession) -> float:
        """Seconds since it was made."""
        return self._clock() - session.created_s

    def knows(self, session_id: str | None) -> bool:
        """True if the session can be connected to, or is."""
        session = None if session_id is None else self._sessions.get(session_id)
        return session is not None and session.expires_s > self._clock()

    def attach(self, session_id: str) -> StreamSession:
        """The session, now with a connection. Raises NotFound, and Conflict when it has one already."""
        session = self.find(session_id)
        if session.is_attached:
            raise Conflict("this session has a connection already; close it, or make another session")
        session.is_attached = session.was_opened = True
        session.expires_s = math.inf
        return session

    def detach(self, session: StreamSession, may_return: bool) -> None:
        """The connection is gone. If it may return the session waits for `grace_s`, else it ends."""
        session.is_attached = False
        session.expires_s = self._clock() + self.grace_s
        if not may_return or self.grace_s == 0:
            self.remove(session.session_id)

    def remove(self, session_id: str) -> None:
        """The session is over. Nothing happens if there is none."""
        session = self._sessions.pop(session_id, None)
        if session is not None and session.held is not None:
            session.held.close()
            session.held = None

    def sweep(self) -> None:
        """Ends the expired ones."""
        now_s = self._clock()
        for session_id in [key for key, session in self._sessions.items() if session.expires_s <= now_s]:
            self.remove(session_id)

    def close(self) -> None:
        """Ends all."""
        for session_id in list(self._sessions):
            self.remove(session_id)

"""Streaming sessions between `POST /convert/stream` and the WebSocket: bounded, with a secret id and an end."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from anivoice.errors import NotFound, Unavailable
from anivoice.parameters import ConversionParameters

ID_BYTES = 24
MAX_SHOWN_CHARS = 64


@dataclass(frozen=True)
class StreamSession:
    """One client's stream. Times are of the clock that `Sessions` was given."""

    session_id: str
    parameters: ConversionParameters
    created_s: float
    expires_s: float


class Sessions:
    """All sessions that wait for their WebSocket. Belongs to the event loop."""

    def __init__(self, max_sessions: int, ttl_s: float, clock: Callable[[], float]) -> None:
        self.max_sessions = max_sessions
        self.ttl_s = ttl_s
        self._clock = clock
        self._sessions: dict[str, StreamSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self, parameters: ConversionParameters) -> StreamSession:
        """A new session. Raises Unavailable when there are `max_sessions`, with the time until the next one expires."""
        self.sweep()
        now_s = self._clock()
        if len(self._sessions) >= self.max_sessions:
            next_s = min(session.expires_s for session in self._sessions.values())
            raise Unavailable(f"there are already {self.max_sessions} sessions; try again later", next_s - now_s)
        session = StreamSession(secrets.token_urlsafe(ID_BYTES), parameters, now_s, now_s + self.ttl_s)
        self._sessions[session.session_id] = session
        return session

    def find(self, session_id: str) -> StreamSession:
        """Raises NotFound when there is no such session or it has expired."""
        session = self._sessions.get(session_id)
        if session is None or session.expires_s <= self._clock():
            shown = session_id if len(session_id) <= MAX_SHOWN_CHARS else session_id[:MAX_SHOWN_CHARS] + "..."
            raise NotFound(f"there is no session {shown!r}, or it has expired; POST /convert/stream makes a new one")
        return session

    def remove(self, session_id: str) -> None:
        """The session is over. Nothing happens if there is none."""
        self._sessions.pop(session_id, None)

    def sweep(self) -> None:
        """Drops the expired ones."""
        now_s = self._clock()
        self._sessions = {key: session for key, session in self._sessions.items() if session.expires_s > now_s}

"""The live sessions seen and changed from outside: by their public ids, never by the secret ones."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from anivoice.errors import AnivoiceError, Forbidden, InvalidParameter
from anivoice.server.control.models import LIVE_PARAMETERS, NOT_FROM_OUTSIDE, ChangeResult, Levels, SessionInfo
from anivoice.server.live.connection import LiveConnection
from anivoice.server.live.session import LiveSession
from anivoice.server.live.sessions import StreamSession
from anivoice.server.live.voices import parse_stream_parameters
from anivoice.server.live.websocket import CONNECTIONS
from anivoice.server.state import APP_STATE

ENDED = "this session was ended from outside"


def check_values(values: Mapping[str, object]) -> None:
    """Raises InvalidParameter for what only the session's own client may say."""
    for name in values:
        if name in NOT_FROM_OUTSIDE:
            raise InvalidParameter(
                f"{name}: shapes the stream's own connection and cannot be changed from outside; what can: "
                f"{', '.join(LIVE_PARAMETERS)}"
            )


class SessionControl:
    """Belongs to the event loop. `tell` is called after every change."""

    def __init__(self, app: web.Application, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._state = app[APP_STATE]
        self._connections = app[CONNECTIONS]

    def infos(self, with_levels: bool = False) -> list[SessionInfo]:
        """All sessions, the oldest first. `with_levels`: and how loud they were since the last such call."""
        return [self.info(session, with_levels) for session in self._state.sessions.all()]

    def find(self, public_id: str) -> SessionInfo:
        """Raises NotFound."""
        return self.info(self._state.sessions.find_public(public_id))

    def info(self, session: StreamSession, with_levels: bool = False) -> SessionInfo:
        """What others may know of a session."""
        known = SessionInfo(
            id=session.public_id,
            state="live" if session.is_attached else "new" if session.held is None else "away",
            age_s=round(self._state.sessions.age_s(session), 1),
            voice=session.parameters.model_name,
            parameters=session.parameters.model_dump(exclude_unset=True),
        )
        live = _begun(session)
        return known if live is None else known.model_copy(update=self._of_stream(session, live, with_levels))

    def watch_levels(self, is_watched: bool) -> None:
        """Whether levels are measured: it costs time in every message."""
        for session in self._state.sessions.all():
            if isinstance(session.held, LiveSession):
                session.held.meter.is_watched = is_watched

    async def change(self, public_id: str, values: Mapping[str, Any]) -> SessionInfo:
        """Raises NotFound, InvalidParameter, and what loading a voice raises; then nothing has changed."""
        session = self._state.sessions.find_public(public_id)
        check_values(values)
        await self._change(session, values)
        self._tell()
        return self.info(session)

    async def change_all(self, values: Mapping[str, Any], public_ids: Sequence[str] | None = None) -> ChangeResult:
        """All of them, or those named, at the same time; what goes wrong with single ones is in the result.

        Raises NotFound, and InvalidParameter for values that no session takes.
        """
        check_values(values)
        parse_stream_parameters(values, self._state.defaults)
        sessions = self._find(public_ids)
        outcomes = await asyncio.gather(*(self._change(one, values) for one in sessions), return_exceptions=True)
        self._tell()
        return self._result(sessions, outcomes)

    def end(self, public_ids: Sequence[str] | None = None) -> None:
        """All sessions are over, or those named; their clients are told. Raises NotFound."""
        for session in self._find(public_ids):
            self._end(session)
        self._tell()

    def _find(self, public_ids: Sequence[str] | None) -> list[StreamSession]:
        sessions = self._state.sessions
        return sessions.all() if public_ids is None else [sessions.find_public(one) for one in public_ids]

    def _result(self, sessions: list[StreamSession], outcomes: Sequence[BaseException | None]) -> ChangeResult:
        errors = {}
        for session, outcome in zip(sessions, outcomes, strict=True):
            if outcome is not None and not isinstance(outcome, AnivoiceError):
                raise outcome
            if outcome is not None:
                errors[session.public_id] = str(outcome)
        return ChangeResult(sessions=[self.info(one) for one in sessions if one.public_id not in errors], errors=errors)

    async def _change(self, session: StreamSession, values: Mapping[str, Any]) -> None:
        live, connection = _begun(session), self._connection(session)
        if live is None:
            wanted = session.parameters.changed(dict(values))
            session.parameters = await self._state.sources.check(wanted)
        elif connection is None:
            await live.change(live.parameters.changed(dict(values)))
        else:
            await connection.change_from_outside(dict(values))

    def _end(self, session: StreamSession) -> None:
        connection = self._connection(session)
        if connection is None:
            self._state.sessions.remove(session.session_id)
        else:
            connection.stop(Forbidden(ENDED))

    def _connection(self, session: StreamSession) -> LiveConnection | None:
        return next((one for one in self._connections if one.session is session), None)

    def _of_stream(self, session: StreamSession, live: LiveSession, with_levels: bool) -> dict[str, object]:
        connection, counts = self._connection(session), live.counts
        known: dict[str, object] = {
            "voice": live.stream.source.voice.name,
            "pitch_method": live.stream.source.algo,
            "parameters": live.parameters.model_dump(exclude_unset=True),
            "delay_ms": round(live.stream.latency_ms(1000 * live.computing_s)["total"], 1),
            "block_ms": 1000 * live.block_s,
            "blocks": counts.num_blocks,
            "dropped_blocks": counts.num_dropped,
            "late": counts.num_late,
            "failed": counts.num_failed,
            "queued": 0 if connection is None else connection.num_queued,
        }
        if with_levels:
            input_db, output_db = live.meter.take_db()
            known["levels_db"] = Levels(input=input_db, output=output_db)
        return known


def _begun(session: StreamSession) -> LiveSession | None:
    """Its stream, if it has begun."""
    return session.held if isinstance(session.held, LiveSession) and session.held.has_begun else None

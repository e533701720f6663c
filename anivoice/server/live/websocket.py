"""`/ws/{session_id}`: the handshake, and how a connection ends. What goes on in between: live_connection.py."""

import asyncio
import logging
import time

from aiohttp import WSCloseCode, hdrs, web

from anivoice.errors import AnivoiceError, Conflict, InvalidRequest, Unavailable, UpgradeRequired
from anivoice.server.conversions import SHUTTING_DOWN
from anivoice.server.live.connection import LiveConnection
from anivoice.server.live.sender import FREE_BYTES, MAX_BUFFERED_BYTES
from anivoice.server.live.sessions import StreamSession
from anivoice.server.state import APP_STATE, AppState

logger = logging.getLogger(__name__)

KIBIBYTE = 1024
MAX_CLOSE_SECONDS = 2.0
WANTS_UPGRADE = "this is a WebSocket; connect to it as one, with ws:// in place of http://"


class Connections(set[LiveConnection]):
    """All that are open."""


CONNECTIONS = web.AppKey("CONNECTIONS", Connections)


async def open_websocket(request: web.Request) -> web.StreamResponse:
    """The handler. Refuses unknown sessions and those with a connection before the upgrade."""
    state = request.app[APP_STATE]
    session_id = request.match_info["session_id"]
    if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        raise UpgradeRequired(WANTS_UPGRADE)
    state.sessions.find(session_id)
    settings = state.settings
    socket = web.WebSocketResponse(
        compress=False,
        max_msg_size=settings.max_message_kb * KIBIBYTE,
        writer_limit=MAX_BUFFERED_BYTES,
        autoping=False,
    )
    if not socket.can_prepare(request):
        raise InvalidRequest(WANTS_UPGRADE)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    session = _attach(request, state, session_id)
    connection = LiveConnection(state, session, socket, transport, time.perf_counter)
    connections = request.app[CONNECTIONS]
    connections.add(connection)
    try:
        await socket.prepare(request)
        transport.set_write_buffer_limits(MAX_BUFFERED_BYTES, FREE_BYTES)
        await _run(request, socket, connection)
    finally:
        connections.discard(connection)
        state.sessions.detach(session, connection.may_return)
    return socket


def _attach(request: web.Request, state: AppState, session_id: str) -> StreamSession:
    """Raises Conflict; if the other connection is a dead one it is found out, and the next attempt succeeds."""
    try:
        return state.sessions.attach(session_id)
    except Conflict:
        session = state.sessions.find(session_id)
        for connection in request.app[CONNECTIONS]:
            if connection.session is session:
                connection.doubt()
        raise


async def close_connections(app: web.Application) -> None:
    """The server is to end: tells every client so."""
    error = Unavailable(SHUTTING_DOWN)
    connections = app[CONNECTIONS]
    for connection in list(connections):
        connection.stop(error)


async def _run(request: web.Request, socket: web.WebSocketResponse, connection: LiveConnection) -> None:
    try:
        await connection.run()
    except ExceptionGroup as group:
        error = _first(group)
        connection.may_return = isinstance(error, ConnectionError | TimeoutError)
        await _end(request, socket, error)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _end(request: web.Request, socket: web.WebSocketResponse, error: Exception) -> None:
    """Tells the client what was wrong and closes."""
    if isinstance(error, ConnectionError | TimeoutError):
        logger.info("a live stream lost its connection (%s)", error or type(error).__name__)
        if request.transport is not None:
            request.transport.abort()
        return
    code, sentence = WSCloseCode.INTERNAL_ERROR.value, "internal error; see the server's log"
    if isinstance(error, AnivoiceError):
        code, sentence = error.websocket_close_code, str(error)
    else:
        logger.error("a live stream failed", exc_info=error)
    try:
        async with asyncio.timeout(MAX_CLOSE_SECONDS):
            await socket.send_json({"error": sentence})
            await socket.close(code=code)
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()

"""Who may keep a connection, and for how long: what says nothing is closed, and gives way to who comes.

aiohttp reads and answers; here is what it does not bound: how long a request's head takes, how long an idle connection
stays, how many one peer has, and how many all have together. Where there is no room for another one, the longest silent
goes, so that whoever sends whole requests is served however many others only hold on.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from anivoice.server.log_limit import LogLimit
from anivoice.server.turns import MAX_ASIDE_PER_TURN

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

MAX_HEAD_S = 10.0
"""From the first byte of a request (or the start of the connection) to the last of its headers."""
MAX_IDLE_S = 75.0
"""Between two requests of a connection; reverse proxies keep theirs for 60 s."""
MAX_UNREAD_S = 60.0
"""A client that reads nothing of its answer for so long is cut off."""
SWEEP_S = 0.5
FILES_OF_A_CONVERSION = 6
FILES_OF_AN_UPLOAD = 2
OWN_FILES = 64
"""Of the process itself: voices that are read, the log, the event loop."""
MIN_CONNECTIONS = 16
MAX_FILES = 2**16
WINDOWS_CONNECTIONS = 4096


class HttpConnection(web.RequestHandler):
    """One client's connection. It is `busy` from a request's last header to the end of its answer."""

    __slots__ = ("_unread_bytes", "_unread_since_s", "busy", "head_since_s", "peer", "silent_since_s")

    def __init__(self, server: "HttpServer", **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.busy = False
        self.peer = ""
        self.silent_since_s = server.clock()
        self.head_since_s: float | None = self.silent_since_s
        self._unread_bytes = 0
        self._unread_since_s = self.silent_since_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self.busy and self.head_since_s is None and isinstance(self._manager, HttpServer):
            self.head_since_s = self._manager.clock()
        super().data_received(data)

    def begin_request(self) -> None:
        """A request's head is complete."""
        self.busy, self.head_since_s = True, None

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """The answer has been sent: aiohttp says so here."""
        if isinstance(self._manager, HttpServer):
            self.busy, self.silent_since_s = False, self._manager.clock()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp could not read, answered as every error is, and one line of the log; else as aiohttp does."""
        if status != 400 or not isinstance(self._manager, HttpServer):
            return super().handle_error(request, status, exc, message)
        status, sentence = _what_is_wrong(exc)
        self._manager.count_malformed(self.peer, status, sentence)
        answer = web.json_response({"error": sentence}, status=status)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that is not what its headers say is the client's fault: a line, no traceback."""
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError | HttpProcessingError) and isinstance(self._manager, HttpServer):
            self._manager.count_malformed(self.peer, 400, "its body is not what its headers say")
        else:
            super().log_exception(*args, **kw)

    def is_overdue(self, now_s: float) -> bool:
        """It has waited long enough: for a head, for another request, or for the client to read."""
        if self.busy:
            return self._reads_nothing(now_s)
        if self.head_since_s is not None:
            return now_s - self.head_since_s > MAX_HEAD_S
        return now_s - self.silent_since_s > MAX_IDLE_S

    def _reads_nothing(self, now_s: float) -> bool:
        transport = self.transport
        unread_bytes = 0 if transport is None else transport.get_write_buffer_size()
        if unread_bytes == 0 or unread_bytes != self._unread_bytes:
            self._unread_bytes, self._unread_since_s = unread_bytes, now_s
        return now_s - self._unread_since_s > MAX_UNREAD_S

    def drop(self) -> None:
        """Closes it now; what lies unsent is lost."""
        if self.transport is not None:
            self.transport.abort()


class HttpServer(web.Server):
    """Makes the connections of an application, and keeps them within their bounds. Belongs to the event loop."""

    def __init__(
        self,
        made: web.Server,
        max_connections: int,
        max_per_peer: int,
        on_malformed: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            made.request_handler,
            request_factory=self._begin_request,
            handler_cancellation=made.handler_cancellation,
        )
        self.clock = clock
        self._make = made.request_factory
        self._max_connections = max_connections
        self._max_per_peer = max_per_peer
        self._on_malformed = on_malformed
        self._malformed_log = LogLimit(logger, clock)

    def __call__(self) -> HttpConnection:
        return HttpConnection(self, access_log=None)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Takes in a new connection; if there is no room, one that is silent goes, and if none is, the new one."""
        super().connection_made(handler, transport)
        everybody = self._open()
        peers = [one for one in everybody if isinstance(handler, HttpConnection) and one.peer == handler.peer]
        if len(peers) > self._max_per_peer:
            self._make_room(peers)
        elif len(everybody) > self._max_connections:
            self._make_room(everybody)

    def sweep(self) -> None:
        """Closes what has waited long enough."""
        now_s = self.clock()
        for connection in self._open():
            if connection.is_overdue(now_s):
                connection.drop()

    def count_malformed(self, peer: str, status: int, sentence: str) -> None:
        """A request that could not be read."""
        self._on_malformed(status)
        self._malformed_log.info("%s sent what is no request -> %d (%s)", peer, status, sentence)

    def _begin_request(
        self, message: Any, payload: Any, protocol: Any, writer: AbstractStreamWriter, task: "asyncio.Task[None]"
    ) -> web.BaseRequest:
        protocol.begin_request()
        return self._make(message, payload, protocol, writer, task)

    def _make_room(self, connections: list[HttpConnection]) -> None:
        """The newest is the last of them, and may be the only one that can go."""
        silent = [one for one in connections[:-1] if not one.busy]
        min(silent, key=lambda one: one.silent_since_s, default=connections[-1]).drop()

    def _open(self) -> list[HttpConnection]:
        """In the order in which they came."""
        return [one for one in self.connections if isinstance(one, HttpConnection) and one.transport is not None]


class HttpRunner(web.AppRunner):
    """An application's runner whose connections are bounded; it sweeps them while it runs."""

    def __init__(
        self,
        app: web.Application,
        max_connections: int,
        max_per_peer: int,
        on_malformed: Callable[[int], None],
        **options: Any,
    ) -> None:
        super().__init__(app, access_log=None, **options)
        self._bounds = (max_connections, max_per_peer, on_malformed)
        self._sweeping: asyncio.Task[None] | None = None

    async def _make_server(self) -> web.Server:
        server = HttpServer(await super()._make_server(), *self._bounds)
        self._sweeping = asyncio.create_task(_sweep(server), name="anivoice-connections")
        return server

    async def _cleanup_server(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await super()._cleanup_server()


async def _sweep(server: HttpServer) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        server.sweep()


def _what_is_wrong(error: BaseException | None) -> tuple[int, str]:
    """Status and sentence; the parser's own words quote the client and explain nothing."""
    if isinstance(error, LineTooLong):
        return 431, "a line of the request's head is too long; at most 8190 bytes are read"
    return 400, "this is no request that HTTP/1.1 knows; GET /docs lists what can be asked"


def max_connections(max_conversions: int, max_waiting: int) -> int:
    """How many the process has descriptors for, beside the files that conversions and uploads need.

    The limit that the system sets for comfort is raised to the one that holds.
    """
    if sys.platform == "win32":
        return WINDOWS_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    begun = max_conversions * (1 + MAX_ASIDE_PER_TURN)
    places = max_conversions + max_waiting
    files = OWN_FILES + FILES_OF_A_CONVERSION * begun + 2 * FILES_OF_AN_UPLOAD * places
    return max((MAX_FILES if soft == resource.RLIM_INFINITY else soft) - files, MIN_CONNECTIONS)

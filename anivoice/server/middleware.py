"""What every request passes: counting and logging, errors as JSON, who may call. From the outside in."""

import asyncio
import errno
import logging
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from anivoice.errors import AnivoiceError, Unauthorized, Unavailable, UpgradeRequired
from anivoice.server.auth import Caller, authorization_of
from anivoice.server.state import APP_STATE, CALLER

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: web.RequestKey[str] = web.RequestKey("REQUEST_ID", str)
BEGUN_RESPONSE: web.RequestKey[web.StreamResponse] = web.RequestKey("BEGUN_RESPONSE", web.StreamResponse)
BROKEN_STATUS: web.RequestKey[int] = web.RequestKey("BROKEN_STATUS", int)
CLIENT_CLOSED_REQUEST = 499
MAX_SHOWN_CHARS = 200
SECRET = re.compile(r"[\w%-]{24,}")
"""Session ids and keys are as long; no route's name is."""
PREFLIGHT_SECONDS = 600
CORS_METHODS = "GET, POST, PUT, PATCH, DELETE"
CORS_REQUEST_HEADERS = "Authorization, Content-Type"
CORS_EXPOSED_HEADERS = (
    "Content-Disposition, Retry-After, Server-Timing, X-Request-Id, X-Anivoice-Voice, X-Anivoice-Pitch-Method, "
    "X-Anivoice-Seed, X-Anivoice-Notes, X-Anivoice-Index, X-Anivoice-Index-File, X-Anivoice-Index-Reason, "
    "X-Anivoice-Sample-Rate, X-Anivoice-Audio-Seconds, "
    "X-Anivoice-Real-Time-Factor, X-Anivoice-Synthetic"
)


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request an id, counts it, and writes the access log."""
    request[REQUEST_ID] = secrets.token_hex(8)
    started_s = time.perf_counter()
    status = HTTPStatus.INTERNAL_SERVER_ERROR.value
    try:
        response = await handler(request)
        status = request.get(BROKEN_STATUS, response.status)
        return response
    except (asyncio.CancelledError, ConnectionError):
        status = CLIENT_CLOSED_REQUEST
        if isinstance(begun := request.get(BEGUN_RESPONSE), web.WebSocketResponse):
            status = begun.status  # a client may end its stream as it likes
        raise
    finally:
        seconds = time.perf_counter() - started_s
        method = request.method if request.method in hdrs.METH_ALL else "OTHER"
        request.app[APP_STATE].metrics.count_request(method, _route(request), status, seconds)
        logger.info(
            "%s %s %s -> %d in %.0f ms, id %s",
            *(request.remote, request.method, _shown_path(request), status, 1000 * seconds, request[REQUEST_ID]),
        )


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The one place where an error becomes an answer: JSON `{"error": sentence}` with the status of the error tree."""
    try:
        return await handler(request)
    except Exception as error:
        begun: web.StreamResponse | None = request.get(BEGUN_RESPONSE)
        if begun is None:
            return _error_response(request, error)
        _break_off(request, error)
        return begun


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses foreign names, foreign pages and callers without the key; answers browsers' preflight questions."""
    state = request.app[APP_STATE]
    host, origin = request.headers.get(hdrs.HOST), request.headers.get(hdrs.ORIGIN)
    state.origins.check_host(host)
    if request.method == "OPTIONS" and origin is not None and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        return _preflight(request, origin, host)
    is_upgrade = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
    state.origins.check_origin(request.method, origin, host, is_upgrade)
    peer = request.remote or ""
    if state.sessions.knows(request.match_info.get("session_id")):
        # Browsers cannot send the key with a WebSocket. The id is a secret that was given to who had the key.
        request[CALLER] = Caller(peer)
    else:
        request[CALLER] = state.keys.check(request.path, authorization_of(request.headers), peer)
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer, streamed ones and errors too (the signal `on_response_prepare`)."""
    request[BEGUN_RESPONSE] = response
    response.headers["X-Request-Id"] = request.get(REQUEST_ID, "")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers[hdrs.SERVER] = "anivoice"
    if _brings_changed_audio(request, response) and request.app[APP_STATE].settings.mark_synthetic:
        response.headers["X-Anivoice-Synthetic"] = "true"
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if request.app[APP_STATE].origins.admits(origin, request.headers.get(hdrs.HOST)):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = CORS_EXPOSED_HEADERS


def _brings_changed_audio(request: web.Request, response: web.StreamResponse) -> bool:
    is_stream = isinstance(response, web.WebSocketResponse) and "session_id" in request.match_info
    return is_stream or response.content_type.startswith("audio/")


def _preflight(request: web.Request, origin: str, host: str | None) -> web.Response:
    """Whether a page of `origin` may call. Raises Forbidden."""
    state = request.app[APP_STATE]
    if not state.origins.admits(origin, host):
        state.origins.check_origin("POST", origin, host, is_upgrade=False)
    headers: dict[str, str] = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: CORS_METHODS,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: CORS_REQUEST_HEADERS,
        hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
    }
    if "Access-Control-Request-Private-Network" in request.headers:
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=headers)


def _error_response(request: web.Request, error: Exception) -> web.StreamResponse:
    if isinstance(error, AnivoiceError):
        return _json_error(error.http_status, str(error), _headers_of(error))
    if isinstance(error, web.HTTPException):
        if error.status < 400:
            raise error
        kept = {str(name): error.headers[name] for name in (hdrs.ALLOW,) if name in error.headers}
        return _json_error(error.status, _sentence(request, error), kept)
    if isinstance(error, ConnectionError):
        raise error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        logger.error("request %s: the disk of temporary files is full", request[REQUEST_ID])
        return _json_error(503, "the server's disk of temporary files is full; try again later", {"Retry-After": "60"})
    logger.error("request %s failed", request[REQUEST_ID], exc_info=error)
    return _json_error(500, f"internal error; see the server's log, request {request[REQUEST_ID]}", {})


def _json_error(status: int, sentence: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"error": sentence}, status=status, headers=headers)


def _headers_of(error: AnivoiceError) -> dict[str, str]:
    match error:
        case Unavailable(retry_after_s=float() | int() as seconds):
            return {"Retry-After": str(max(1, math.ceil(seconds)))}
        case UpgradeRequired():
            return {hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "Upgrade"}
        case Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="anivoice"'}
        case _:
            return {}


def _sentence(request: web.Request, error: web.HTTPException) -> str:
    """What aiohttp's own refusal means, and what would be right."""
    path = _shown_path(request)
    match error:
        case web.HTTPNotFound():
            return f"there is nothing at {path}; GET /docs lists what there is"
        case web.HTTPMethodNotAllowed():
            return f"{path} does not take {error.method}; it takes {', '.join(sorted(error.allowed_methods))}"
        case web.HTTPRequestEntityTooLarge():
            return f"the body is larger than {request.client_max_size} bytes, which is the limit at {path}"
        case web.HTTPExpectationFailed():
            return "the only expectation that is met is `Expect: 100-continue`"
        case _:
            return f"{error.reason}; GET /docs tells how to call {path}"


def _break_off(request: web.Request, error: Exception) -> None:
    """The answer has begun and cannot be finished: the connection is cut, so that nobody takes a part for the whole."""
    if isinstance(error, ConnectionError | TimeoutError):
        request[BROKEN_STATUS] = CLIENT_CLOSED_REQUEST
        logger.info("request %s: the client does not take the answer any more", request[REQUEST_ID])
    else:
        request[BROKEN_STATUS] = HTTPStatus.INTERNAL_SERVER_ERROR.value
        logger.error("request %s broke off", request[REQUEST_ID], exc_info=error)
    if request.transport is not None:
        request.transport.abort()


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "other" if resource is None else resource.canonical


def _shown_path(request: web.Request) -> str:
    """As it was sent, percent-encoded, so that it cannot forge a line of the log; without what may be a secret.

    Whoever has a stream's address can take it over.
    """
    return SECRET.sub("...", request.rel_url.raw_path)[:MAX_SHOWN_CHARS]

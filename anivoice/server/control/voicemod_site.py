"""The second address of the server, which speaks Voicemod's protocol: started and stopped with the server."""

from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from anivoice.errors import Forbidden, InvalidParameter
from anivoice.server.control.control import CONTROL
from anivoice.server.control.voicemod import VoicemodClient
from anivoice.server.state import APP_STATE

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 2**16
HEARTBEAT_SECONDS = 20.0


async def run_voicemod_site(app: web.Application) -> AsyncIterator[None]:
    """For `cleanup_ctx`. Raises InvalidParameter when the port is taken."""
    port = app[APP_STATE].settings.voicemod_port
    if port is None:
        yield
        return
    runner = web.AppRunner(_voicemod_app(app), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise InvalidParameter(
                f"voicemod_port: cannot listen on {HOST}:{port} ({error.strerror or error}); does Voicemod itself run?"
            ) from error
        yield
    finally:
        await runner.cleanup()


def _voicemod_app(app: web.Application) -> web.Application:
    site = web.Application()
    site[APP_STATE] = app[APP_STATE]
    site[CONTROL] = app[CONTROL]
    site[SOCKETS] = VoicemodSockets()
    for path in ("/v1", "/v1/"):
        site.router.add_get(path, _open)
    site.on_shutdown.append(_close_all)
    return site


class VoicemodSockets(set[web.WebSocketResponse]):
    """All that are open."""


SOCKETS = web.AppKey("SOCKETS", VoicemodSockets)


async def _open(request: web.Request) -> web.StreamResponse:
    """Pages of other sites are refused as everywhere; programs on this machine need no key: Voicemod's have none."""
    state, headers = request.app[APP_STATE], request.headers
    try:
        state.origins.check_host(headers.get(hdrs.HOST))
        state.origins.check_origin("GET", headers.get(hdrs.ORIGIN), headers.get(hdrs.HOST), is_upgrade=True)
    except Forbidden as error:
        raise web.HTTPForbidden(text=str(error)) from error
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_SECONDS, compress=False)
    if not socket.can_prepare(request):
        raise web.HTTPBadRequest(text="this is a WebSocket")
    await socket.prepare(request)
    request.app[SOCKETS].add(socket)
    try:
        await VoicemodClient(state, request.app[CONTROL], socket).run()
    finally:
        request.app[SOCKETS].discard(socket)
    return socket


async def _close_all(site: web.Application) -> None:
    sockets: VoicemodSockets = site[SOCKETS]
    for socket in list(sockets):
        await socket.close(code=1001)

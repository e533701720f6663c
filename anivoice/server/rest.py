"""The small routes. `POST /convert` has a file of its own: convert_route.py."""

import asyncio

from aiohttp import web

from anivoice.errors import RequestTimeout
from anivoice.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from anivoice.server.conversion_events import add_conversion_routes, convert_or_tell
from anivoice.server.convert import expect_later
from anivoice.server.json_text import parse_object
from anivoice.server.live.voices import parse_stream_parameters
from anivoice.server.live.websocket import open_websocket
from anivoice.server.state import APP_STATE, CALLER, AppState, known_voice, voice_defaults
from anivoice.server.uploads import body_errors, query_fields

MAX_BODY_S = 10.0
NO_VOICE = "there is no voice any more; put a voice's .pth into the folder of voices"


def add_routes(app: web.Application) -> None:
    """Every route; what each takes and answers is described in openapi.py."""
    router = app.router
    router.add_get("/models", list_models)
    router.add_post("/convert", convert_or_tell, expect_handler=expect_later)
    add_conversion_routes(app)
    router.add_post("/convert/stream", create_session)
    router.add_get("/ws/{session_id}", open_websocket)
    router.add_get("/healthz", show_health)
    router.add_get("/readyz", show_readiness)
    router.add_get("/metrics", show_metrics)
    router.add_get("/openapi.json", show_openapi)


async def list_models(request: web.Request) -> web.Response:
    state = request.app[APP_STATE]
    return web.json_response({"models": await state.workers.run(state.runtime.library.names)})


async def create_session(request: web.Request) -> web.Response:
    state = request.app[APP_STATE]
    values = {**query_fields(request), **await read_json_object(request, state)}
    asked = parse_stream_parameters(values, state.defaults).model_name
    name = await state.workers.run(known_voice, state.runtime.library, asked)
    defaults = await state.workers.run(voice_defaults, state.runtime.library, name, state.defaults)
    parameters = parse_stream_parameters(values, defaults)
    caller = request[CALLER]
    state.sessions.check_room(caller)
    state.sessions.check_peer(request.remote)
    session = state.sessions.create(await state.sources.check(parameters), caller, peer=request.remote)
    answer = {
        "session_id": session.session_id,
        "websocket_url": f"/ws/{session.session_id}",
        "expires_in": state.sessions.ttl_s,
    }
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


async def show_health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def show_readiness(request: web.Request) -> web.Response:
    state = request.app[APP_STATE]
    has_voice = bool(await state.workers.run(state.runtime.library.names))
    warm_up = state.warm_up
    warm_up.retry_if_failed()
    problem = state.runtime.engine.problem or warm_up.problem or (None if has_voice else NO_VOICE)
    ready = warm_up.state == "done" and problem is None
    answer = {
        "ready": ready,
        "warm_up": warm_up.state,
        "problem": problem,
        "voice": warm_up.voice_name,
        "pitch_method": warm_up.pitch_method,
        "device": str(state.runtime.runner.device),
    }
    return web.json_response(answer, status=200 if ready else 503)


async def show_metrics(request: web.Request) -> web.Response:
    state = request.app[APP_STATE]
    text = await state.workers.run(state.metrics.text)
    return web.Response(body=text, headers={"Content-Type": METRICS_CONTENT_TYPE})


async def show_openapi(request: web.Request) -> web.Response:
    return web.Response(body=request.app[APP_STATE].openapi, content_type="application/json")


async def read_json_object(request: web.Request, state: AppState) -> dict[str, object]:
    """The body as a JSON object; an empty body is an empty object. Raises InvalidRequest."""
    try:
        async with asyncio.timeout(min(state.settings.max_stall_seconds, MAX_BODY_S)):
            with body_errors():
                body = await request.read()
    except TimeoutError as error:
        raise RequestTimeout("the body did not arrive; send it again") from error
    return parse_object(body, "the body") if body.strip() else {}

"""The routes of the control plane; what each takes and answers is described in control/description.py."""

from aiohttp import web
from pydantic import ValidationError

from anivoice.errors import InvalidRequest
from anivoice.parameters import describe_validation_error
from anivoice.server.control.control import CONTROL, Control
from anivoice.server.control.models import ApplyBody, SessionList
from anivoice.server.control.socket import open_control
from anivoice.server.live.events import Message
from anivoice.server.rest import read_json_object
from anivoice.server.state import APP_STATE


def add_control_routes(app: web.Application) -> None:
    """After the state has been put into the application."""
    app[CONTROL] = Control(app)
    router = app.router
    router.add_get("/sessions", list_sessions)
    router.add_patch("/sessions", change_all_sessions)
    router.add_delete("/sessions", end_all_sessions)
    router.add_get("/sessions/{public_id}", show_session)
    router.add_patch("/sessions/{public_id}", change_session)
    router.add_delete("/sessions/{public_id}", end_session)
    router.add_get("/presets", list_presets)
    router.add_get("/presets/{name}", show_preset)
    router.add_put("/presets/{name}", put_preset)
    router.add_delete("/presets/{name}", delete_preset)
    router.add_post("/presets/{name}/apply", apply_preset)
    router.add_get("/control", open_control)


async def list_sessions(request: web.Request) -> web.Response:
    return _answer(SessionList(sessions=request.app[CONTROL].sessions.infos()))


async def show_session(request: web.Request) -> web.Response:
    return _answer(request.app[CONTROL].sessions.find(request.match_info["public_id"]))


async def change_session(request: web.Request) -> web.Response:
    values = await _body(request)
    return _answer(await request.app[CONTROL].sessions.change(request.match_info["public_id"], values))


async def change_all_sessions(request: web.Request) -> web.Response:
    values = await _body(request)
    return _answer(await request.app[CONTROL].sessions.change_all(values))


async def end_session(request: web.Request) -> web.Response:
    request.app[CONTROL].sessions.end([request.match_info["public_id"]])
    return web.Response(status=204)


async def end_all_sessions(request: web.Request) -> web.Response:
    request.app[CONTROL].sessions.end()
    return web.Response(status=204)


async def list_presets(request: web.Request) -> web.Response:
    return _answer(await request.app[CONTROL].presets())


async def show_preset(request: web.Request) -> web.Response:
    return web.json_response(await request.app[CONTROL].preset(request.match_info["name"]))


async def put_preset(request: web.Request) -> web.Response:
    """The answer is all set-ups: the new one is among them."""
    control: Control = request.app[CONTROL]
    await control.put_preset(request.match_info["name"], await _body(request))
    return _answer(await control.presets())


async def delete_preset(request: web.Request) -> web.Response:
    await request.app[CONTROL].delete_preset(request.match_info["name"])
    return web.Response(status=204)


async def apply_preset(request: web.Request) -> web.Response:
    """The body may name the sessions; without one the set-up is applied to all."""
    public_ids = _named_sessions(await _body(request))
    return _answer(await request.app[CONTROL].apply_preset(request.match_info["name"], public_ids))


def _named_sessions(values: dict[str, object]) -> list[str] | None:
    """Raises InvalidRequest."""
    try:
        return ApplyBody.model_validate(values).sessions
    except ValidationError as error:
        raise InvalidRequest(describe_validation_error(error, ApplyBody)) from error


async def _body(request: web.Request) -> dict[str, object]:
    return await read_json_object(request, request.app[APP_STATE])


def _answer(message: Message) -> web.Response:
    return web.json_response(message.content(), headers={"Cache-Control": "no-store"})

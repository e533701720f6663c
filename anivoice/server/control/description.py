"""The control plane's part of the OpenAPI document."""

from typing import Any

from pydantic import BaseModel

from anivoice.live.parameters import StreamParameters
from anivoice.server.control.models import (
    CONTROL_EVENT,
    LIVE_PARAMETERS,
    ApplyBody,
    ChangeResult,
    ControlCommand,
    Presets,
    SessionList,
)
from anivoice.server.live.events import SCHEMA_REFERENCE
from anivoice.server.route_description import TEXT, Json, RouteDescription, reference

JSON = "application/json"
SESSION_ID = {"public_id": "Of GET /sessions."}
PRESET_NAME = {"name": "Of the set-up: 1 to 64 printable characters without a slash, percent-encoded."}
CHANGE_ERRORS = (400, 404, 408, 413, 422, 503)

CONTROL_ROUTES = (
    RouteDescription(
        "get",
        "/obs",
        "A panel for a browser source or a dock of OBS: voice, set-up, mute, meters, delay and the sync offset.",
        {200: ("A page.", {"text/html": TEXT})},
    ),
    RouteDescription(
        "get",
        "/sessions",
        "All live sessions, the oldest first.",
        {200: ("The sessions.", {JSON: reference("SessionList")})},
    ),
    RouteDescription(
        "patch",
        "/sessions",
        "Change parameters of all sessions at the next block.",
        {200: ("What was changed, and what could not be.", {JSON: reference("ChangeResult")})},
        errors=CHANGE_ERRORS,
        request_content={JSON: reference("LiveChange")},
    ),
    RouteDescription("delete", "/sessions", "End all sessions.", {204: ("They are over.", {})}),
    RouteDescription(
        "get",
        "/sessions/{public_id}",
        "One session.",
        {200: ("The session.", {JSON: reference("SessionInfo")})},
        errors=(404,),
        path_parameters=SESSION_ID,
    ),
    RouteDescription(
        "patch",
        "/sessions/{public_id}",
        "Change parameters of a session at the next block, without a click; its client is told by `changed`.",
        {200: ("The session as it is now.", {JSON: reference("SessionInfo")})},
        errors=CHANGE_ERRORS,
        request_content={JSON: reference("LiveChange")},
        path_parameters=SESSION_ID,
    ),
    RouteDescription(
        "delete",
        "/sessions/{public_id}",
        "End a session; its client is told and closed with 1008.",
        {204: ("It is over.", {})},
        errors=(404,),
        path_parameters=SESSION_ID,
    ),
    RouteDescription(
        "get",
        "/presets",
        "All named set-ups.",
        {200: ("By name.", {JSON: reference("Presets")})},
        errors=(503,),
    ),
    RouteDescription(
        "get",
        "/presets/{name}",
        "The parameters of a named set-up.",
        {200: ("The parameters.", {JSON: reference("LiveChange")})},
        errors=(404, 503),
        path_parameters=PRESET_NAME,
    ),
    RouteDescription(
        "put",
        "/presets/{name}",
        "Keep a named set-up: parameters that are applied by one call.",
        {200: ("All set-ups.", {JSON: reference("Presets")})},
        errors=(400, 408, 413, 422, 503),
        request_content={JSON: reference("LiveChange")},
        body_required=True,
        path_parameters=PRESET_NAME,
    ),
    RouteDescription(
        "delete",
        "/presets/{name}",
        "Forget a named set-up.",
        {204: ("It is gone.", {})},
        errors=(404, 503),
        path_parameters=PRESET_NAME,
    ),
    RouteDescription(
        "post",
        "/presets/{name}/apply",
        "Apply a named set-up to all sessions, or those named, at the next block.",
        {200: ("What was changed, and what could not be.", {JSON: reference("ChangeResult")})},
        errors=CHANGE_ERRORS,
        request_content={JSON: reference("ApplyBody")},
        path_parameters=PRESET_NAME,
    ),
    RouteDescription(
        "get",
        "/control",
        "A WebSocket of events and commands for panels and scripts. Pages give the key as a subprotocol: `key.` and "
        "the key in base64url, beside `anivoice`.",
        {101: ("The WebSocket is open.", {})},
        errors=(426,),
        websocket={
            "send": {"text": reference("ControlCommand")},
            "receive": {"text": reference("ControlEvent")},
            "closeCodes": {"1000": "The client ended it.", "1001": "The server ends.", "1009": "A text was too long."},
        },
    ),
)


def control_schemas() -> dict[str, Any]:
    """JSON schemas of the control plane by name."""
    models: tuple[type[BaseModel], ...] = (SessionList, ChangeResult, Presets, ApplyBody, ControlCommand)
    events = CONTROL_EVENT.json_schema(mode="serialization", ref_template=SCHEMA_REFERENCE)
    schemas: dict[str, Any] = {**events.pop("$defs"), "ControlEvent": events, "LiveChange": _live_change()}
    for model in models:
        mode: Any = "validation" if model in (ApplyBody, ControlCommand) else "serialization"
        schema = model.model_json_schema(mode=mode, ref_template=SCHEMA_REFERENCE)
        schemas |= {**schema.pop("$defs", {}), model.__name__: schema}
    return schemas


def _live_change() -> Json:
    """The parameters that may be changed from outside; all may be left out."""
    schema = StreamParameters.model_json_schema(ref_template=SCHEMA_REFERENCE)
    return {
        "type": "object",
        "title": "LiveChange",
        "additionalProperties": False,
        "properties": {name: schema["properties"][name] for name in LIVE_PARAMETERS},
    }

"""The description of the interface, OpenAPI 3.1: a table of the routes, and the parameters' pydantic models."""

import json
from collections.abc import Mapping

from pydantic import BaseModel

from anivoice import __version__
from anivoice.audio.files import CONTENT_TYPES
from anivoice.config import Settings
from anivoice.live.parameters import StreamParameters
from anivoice.parameters import ConversionParameters
from anivoice.server.auth import is_open
from anivoice.server.control.description import CONTROL_ROUTES, control_schemas
from anivoice.server.live.events import live_schemas, live_socket
from anivoice.server.route_description import TEXT, Json, RouteDescription, json_object, reference
from anivoice.server.uploads import AUDIO_FIELD, FileParameters

ERRORS = {
    400: "The form or the JSON body cannot be read, or the audio file is missing.",
    401: "The server has a key, and the request carries none or a wrong one.",
    403: "The request comes from a foreign web page, or names the server by a foreign host name.",
    404: "There is no such voice (the known ones are listed), session or route.",
    408: "The upload stands still, or comes too slowly.",
    409: "The session has a connection already.",
    413: "The upload, the recording or the body is larger than the limit.",
    415: "The file is not audio that can be decoded.",
    422: "A parameter is wrong (it is named), or the voice's file cannot be used.",
    426: "This is a WebSocket; ask with `Upgrade: websocket`.",
    429: "This key or address has as much at once as it may have; `Retry-After` says when to try again.",
    499: "The client went away; nobody reads this.",
    500: "A fault of the server; its log has the details under the request's id.",
    503: "Busy or shutting down (`Retry-After` says for how long), or a shared network is not installed (the sentence "
    "says which one and the command that fetches it).",
}
SYNTHETIC_HEADER = {
    "X-Anivoice-Synthetic": "`true`: a computer made this voice. Left out where the server's settings say so.",
}
ANSWER_HEADERS = SYNTHETIC_HEADER | {
    "Content-Disposition": "File name: the upload's stem, the voice, the format.",
    "X-Anivoice-Voice": "The voice, percent-encoded where not ASCII.",
    "X-Anivoice-Pitch-Method": "The pitch method that was used; `none` for voices without pitch.",
    "X-Anivoice-Seed": "The seed that was used; sending it again gives the same bytes.",
    "X-Anivoice-Index": "`used`, `off` (index_rate is 0) or `none` (the voice has no index).",
    "X-Anivoice-Index-File": "The index that was used, percent-encoded; left out where none was.",
    "X-Anivoice-Index-Reason": "Why that index is the voice's, percent-encoded.",
    "X-Anivoice-Notes": "What could not be done exactly as asked, in sentences, percent-encoded, separated by `, `.",
    "X-Anivoice-Sample-Rate": "Sample rate of the answer in Hz.",
    "X-Anivoice-Audio-Seconds": "Length of the answer in seconds.",
    "X-Anivoice-Real-Time-Factor": "Time of the conversion over the length of the audio; below 1 is faster than live.",
    "Server-Timing": "Milliseconds of upload, wait (for a turn, and loading the voice) and convert.",
}


RECORDING: Json = {"type": "string", "contentMediaType": "application/octet-stream"}
NULLABLE_TEXT: Json = {"type": ["string", "null"]}
READINESS = json_object(
    ready={"type": "boolean"},
    warm_up={"type": "string", "enum": ["waiting", "running", "done", "failed"]},
    problem=NULLABLE_TEXT,
    voice=NULLABLE_TEXT,
    pitch_method=NULLABLE_TEXT,
    device=TEXT,
)

ANY_OBJECT: Json = {"type": "object"}
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp")
VOICE_NAME = {"name": "The voice, percent-encoded."}
JOB_ID = {"job_id": "From the event `received` of POST /convert."}
VOICE = json_object(
    name=TEXT,
    file=TEXT,
    size_bytes={"type": "integer"},
    version=NULLABLE_TEXT,
    sample_rate_hz={"type": ["integer", "null"]},
    has_f0={"type": ["boolean", "null"]},
    num_speakers={"type": ["integer", "null"]},
    vocoder=NULLABLE_TEXT,
    embedder_model=NULLABLE_TEXT,
    unvoiced_f0=NULLABLE_TEXT,
    problem=NULLABLE_TEXT,
    index={"type": ["object", "null"]},
    defaults=ANY_OBJECT,
    picture=NULLABLE_TEXT,
    can_change={"type": "boolean"},
)
ADDED_VOICES = json_object(
    voices={"type": "array", "items": VOICE},
    left_out={"type": "array", "items": json_object(file=TEXT, reason=TEXT)},
)
VOICE_FORM: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "What the only voice is to be called, or whose index it is."},
        "replace": {"type": "boolean", "description": "Whether a voice of the same name gives way."},
        "file": {
            "type": "array",
            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
            "description": ".pth, .safetensors, .index or .zip, one or more.",
        },
    },
    "required": ["file"],
}

ROUTES = (
    RouteDescription(
        "get",
        "/",
        "A sign of life; a browser gets the page.",
        {200: ("It runs.", {"application/json": json_object(message=TEXT), "text/html": TEXT})},
    ),
    RouteDescription(
        "get",
        "/models",
        "The voices there are, sorted.",
        {200: ("Names.", {"application/json": json_object(models={"type": "array", "items": TEXT})})},
    ),
    RouteDescription(
        "post",
        "/models",
        "Upload voices and indexes, plain or in a .zip. They are checked before they are seen; docs/api.md says more.",
        {201: ("The voices that came, and what was left out.", {"application/json": ADDED_VOICES})},
        errors=(400, 404, 409, 413, 422, 503),
        request_content={"multipart/form-data": VOICE_FORM},
        body_required=True,
    ),
    RouteDescription(
        "get",
        "/models/{name}",
        "What is known of a voice.",
        {200: ("The voice.", {"application/json": VOICE})},
        errors=(404,),
        path_parameters=VOICE_NAME,
    ),
    RouteDescription(
        "patch",
        "/models/{name}",
        "Rename a voice, or set what conversions with it take where a request says nothing.",
        {200: ("The changed voice.", {"application/json": VOICE})},
        errors=(400, 404, 409, 413, 422),
        request_content={"application/json": {"type": "object", "properties": {"name": TEXT, "defaults": ANY_OBJECT}}},
        body_required=True,
        path_parameters=VOICE_NAME,
    ),
    RouteDescription(
        "delete",
        "/models/{name}",
        "Remove a voice's files; streams that use it go on.",
        {204: ("It is gone.", {})},
        errors=(404,),
        path_parameters=VOICE_NAME,
    ),
    RouteDescription(
        "get",
        "/models/{name}/preview",
        "A bundled sentence in this voice. The query takes the parameters of POST /convert.",
        {200: ("The sentence.", {kind: {"contentMediaType": kind} for kind in CONTENT_TYPES.values()})},
        errors=(404, 422, 503),
        path_parameters=VOICE_NAME,
        headers=SYNTHETIC_HEADER,
    ),
    RouteDescription(
        "get",
        "/conversions/{job_id}",
        "The audio of a conversion with events, once. docs/api.md says more.",
        {200: ("The converted audio.", {kind: {"contentMediaType": kind} for kind in CONTENT_TYPES.values()})},
        errors=(404,),
        path_parameters=JOB_ID,
        headers=SYNTHETIC_HEADER,
    ),
    RouteDescription(
        "delete",
        "/conversions/{job_id}",
        "Cancel a conversion with events, or drop its result.",
        {204: ("It is gone.", {})},
        errors=(404,),
        path_parameters=JOB_ID,
    ),
    RouteDescription(
        "get",
        "/models/{name}/picture",
        "The voice's picture.",
        {200: ("The picture.", {kind: {"contentMediaType": kind} for kind in PICTURE_TYPES})},
        errors=(404,),
        path_parameters=VOICE_NAME,
    ),
    RouteDescription(
        "put",
        "/models/{name}/picture",
        "Set the voice's picture: PNG, JPEG or WebP, up to 1 MiB.",
        {204: ("It is set.", {})},
        errors=(400, 404, 413, 422),
        request_content={kind: {"contentMediaType": kind} for kind in PICTURE_TYPES},
        body_required=True,
        path_parameters=VOICE_NAME,
    ),
    RouteDescription(
        "delete",
        "/models/{name}/picture",
        "Remove the voice's picture.",
        {204: ("It is gone.", {})},
        errors=(404,),
        path_parameters=VOICE_NAME,
    ),
    RouteDescription(
        "post",
        "/convert",
        "Convert an audio file. The answer lasts exactly as long as the input. With `Accept: text/event-stream` it is "
        "progress as events, and the audio waits at /conversions/{job_id}.",
        {
            200: (
                "The converted audio, or events.",
                {kind: {"contentMediaType": kind} for kind in CONTENT_TYPES.values()} | {"text/event-stream": TEXT},
            )
        },
        errors=(400, 404, 408, 413, 415, 422, 429, 503),
        request_content={"multipart/form-data": reference("ConvertForm"), "audio/*": RECORDING},
        query_schema="FileParameters",
        body_required=True,
        headers=ANSWER_HEADERS,
    ),
    RouteDescription(
        "post",
        "/convert/stream",
        "Make a streaming session with its parameters.",
        {
            200: (
                "The session; connect to websocket_url within expires_in seconds.",
                {"application/json": json_object(session_id=TEXT, websocket_url=TEXT, expires_in={"type": "number"})},
            )
        },
        errors=(400, 404, 408, 413, 422, 429, 503),
        request_content={"application/json": reference("StreamParameters")},
        query_schema="StreamParameters",
    ),
    RouteDescription(
        "get",
        "/ws/{session_id}",
        "The WebSocket of a session: audio in, audio out. The session id suffices as a key.",
        {101: ("The WebSocket is open.", {})},
        errors=(400, 404, 409, 426, 503),
        path_parameters={"session_id": "From POST /convert/stream."},
        websocket=live_socket(),
    ),
    RouteDescription(
        "get", "/healthz", "The process lives.", {200: ("It lives.", {"application/json": json_object(status=TEXT)})}
    ),
    RouteDescription(
        "get",
        "/readyz",
        "Whether the warm-up is done, and if not, why. Asking again after a failure starts another one.",
        {200: ("Ready.", {"application/json": READINESS}), 503: ("Not ready.", {"application/json": READINESS})},
    ),
    RouteDescription("get", "/metrics", "Figures for Prometheus.", {200: ("Text format.", {"text/plain": TEXT})}),
    RouteDescription(
        "get", "/openapi.json", "This description.", {200: ("OpenAPI 3.1.", {"application/json": {"type": "object"}})}
    ),
    RouteDescription("get", "/docs", "This description as a page.", {200: ("A page.", {"text/html": TEXT})}),
    RouteDescription(
        "get",
        "/client.js",
        "A client for JavaScript: conversions, voices, live streams.",
        {200: ("A module, documented in itself.", {"text/javascript": TEXT})},
    ),
    RouteDescription(
        "get",
        "/web/{path}",
        "The files of the pages.",
        {200: ("A file.", {"text/javascript": TEXT, "text/css": TEXT, "application/json": TEXT})},
        errors=(404,),
        path_parameters={"path": "Place in the folder."},
    ),
)


def openapi_document(settings: Settings, defaults: ConversionParameters) -> bytes:
    """The whole document as JSON, with the server's own default values."""
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "anivoice",
            "version": __version__,
            "description": "Changes a speaker's voice. Every error is JSON with one sentence: what was wrong, and what "
            f"would be right. Uploads up to {settings.max_upload_mb} MiB and {settings.max_audio_seconds:g} s.",
        },
        "paths": _paths(has_key=settings.api_key is not None or settings.api_key_file is not None),
        "components": {
            "schemas": {
                "Error": json_object(error=TEXT),
                "ConversionParameters": _parameter_schema(ConversionParameters, defaults),
                "StreamParameters": _parameter_schema(StreamParameters, defaults),
                "FileParameters": _parameter_schema(FileParameters, defaults),
                "ConvertForm": _form_schema(defaults),
                **live_schemas(),
                **control_schemas(),
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _paths(has_key: bool) -> Json:
    paths: dict[str, dict[str, Json]] = {}
    for route in (*ROUTES, *CONTROL_ROUTES):
        paths.setdefault(route.path, {})[route.method] = _operation(route, has_key)
    return paths


def _operation(route: RouteDescription, has_key: bool) -> Json:
    answers = {str(status): _answer(text, content, route.headers) for status, (text, content) in route.answers.items()}
    common = (403, 500) if is_open(route.path) else (401, 403, 500)
    for status in sorted({*route.errors, *common}):
        answers[str(status)] = _answer(ERRORS[status], {"application/json": reference("Error")}, {})
    operation: dict[str, Json] = {"summary": route.summary, "responses": answers}
    operation["security"] = [{"key": []}] if has_key and not is_open(route.path) else []
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "description": text, "schema": TEXT}
        for name, text in route.path_parameters.items()
    ]
    if route.query_schema is not None:
        parameters.append(_query_parameters(route.query_schema))
    if parameters:
        operation["parameters"] = parameters
    if route.request_content:
        content = {kind: {"schema": schema} for kind, schema in route.request_content.items()}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    if route.websocket:
        operation["x-websocket"] = route.websocket
    return operation


def _query_parameters(schema: str) -> Json:
    """Each of the schema's properties as a parameter of the address."""
    return {
        "name": "parameters",
        "in": "query",
        "style": "form",
        "explode": True,
        "description": "Every parameter may stand in the address, too; the body goes first. null and an empty text "
        "mean that it is not given.",
        "schema": reference(schema),
    }


def _answer(text: str, content: Mapping[str, Json], headers: Mapping[str, str]) -> Json:
    answer: dict[str, Json] = {
        "description": text,
        "content": {kind: {"schema": schema} for kind, schema in content.items()},
    }
    if headers:
        answer["headers"] = {name: {"description": told, "schema": TEXT} for name, told in headers.items()}
    return answer


def _parameter_schema(model: type[BaseModel], defaults: ConversionParameters) -> dict[str, Json]:
    schema: dict[str, Json] = model.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for name, value in defaults.model_dump(exclude_unset=True).items():
        properties[name] = {**properties[name], "default": value}
    return schema


def _form_schema(defaults: ConversionParameters) -> Json:
    schema = _parameter_schema(FileParameters, defaults)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    audio: Json = {
        "type": "string",
        "contentMediaType": "application/octet-stream",
        "description": "The recording: WAV, FLAC, OGG, MP3, AIFF or another format, see docs/formats.md.",
    }
    return {
        **schema,
        "title": "ConvertForm",
        "properties": {AUDIO_FIELD: audio, **properties},
        "required": [AUDIO_FIELD],
    }

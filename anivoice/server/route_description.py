"""How a route is described, and the shapes of JSON Schema that descriptions need. The whole document: openapi.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | float | bool | None"


@dataclass(frozen=True)
class RouteDescription:
    """One route. `answers`: status -> description and content (media type -> schema); `errors`: statuses of ERRORS."""

    method: str
    path: str
    summary: str
    answers: Mapping[int, tuple[str, Mapping[str, Json]]]
    errors: tuple[int, ...] = ()
    request_content: Mapping[str, Json] = field(default_factory=dict)
    body_required: bool = False
    query_schema: str | None = None
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    websocket: Mapping[str, Json] = field(default_factory=dict)
    """What goes over it once it is open (`x-websocket`)."""


def json_object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT: Json = {"type": "string"}

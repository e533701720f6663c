"""JSON from a client."""

import json

from anivoice.errors import InvalidRequest


def parse_object(text: str | bytes, what: str) -> dict[str, object]:
    """The object that `what` holds. Raises InvalidRequest."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{what} is not JSON ({error}); send an object such as {{}}") from error
    if not isinstance(values, dict):
        raise InvalidRequest(f'{what} is a JSON {_type_of(values)}; send an object such as {{"pitch_change": 12}}')
    return values


def _type_of(value: object) -> str:
    match value:
        case list():
            return "array"
        case str():
            return "string"
        case bool() | None:
            return "literal"
        case _:
            return "number"

"""JSON from a client."""

import json
import math

from anivoice.errors import InvalidRequest


def parse_object(text: str | bytes, what: str) -> dict[str, object]:
    """The object that `what` holds. Raises InvalidRequest."""
    try:
        values = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{what} is not JSON ({error}); send an object such as {{}}") from error
    if not isinstance(values, dict):
        raise InvalidRequest(f'{what} is a JSON {_type_of(values)}; send an object such as {{"pitch_change": 12}}')
    return values


def _refuse_constant(name: str) -> float:
    """NaN and Infinity, which Python reads and JSON does not know: they would come back in an answer."""
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


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

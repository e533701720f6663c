"""The way back of `anivoice.errors`: from the status and the close codes of the wire to exceptions."""

import json
from collections.abc import Iterator

from anivoice import errors


def _tree(root: type[errors.AnivoiceError]) -> Iterator[type[errors.AnivoiceError]]:
    """The leaves first, so that of several with one status the most general one remains."""
    for kind in root.__subclasses__():
        yield from _tree(kind)
    yield root


OF_STATUS: dict[int, type[errors.AnivoiceError]] = {kind.http_status: kind for kind in _tree(errors.AnivoiceError)}
OF_CLOSE_CODE: dict[int, type[errors.AnivoiceError]] = {
    1008: errors.InvalidRequest,
    1009: errors.TooLarge,
    1013: errors.Unavailable,
}
CLOSE_CODES_OF_A_LOST_CONNECTION = (None, 1001, 1005, 1006, 1012)
"""After these the stream may go on over a new connection."""


def error_of_status(status: int, body: str, retry_after: str | None = None) -> errors.AnivoiceError:
    """What an HTTP answer other than 2xx means."""
    sentence = _sentence(body) or f"the server answered with status {status}"
    if status in (429, 503):
        is_number = retry_after is not None and retry_after.isdigit()
        return errors.Unavailable(sentence, float(retry_after) if is_number and retry_after else None)
    return OF_STATUS.get(status, errors.AnivoiceError)(sentence)


def error_of_close(close_code: int | None, last_sentence: str | None) -> errors.AnivoiceError | None:
    """What the end of a WebSocket means; None for a normal end."""
    if close_code == 1000:
        return None
    kind = OF_CLOSE_CODE.get(close_code or 0, errors.AnivoiceError)
    return kind(last_sentence or f"the server ended the stream (close code {close_code})")


def _sentence(body: str) -> str | None:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return str(answer["error"]) if isinstance(answer, dict) and "error" in answer else None

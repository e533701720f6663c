"""The exception tree. Every error that a user can cause or mend is one of these.

    AnivoiceError
    ├── InvalidRequest        400   the request's form is wrong
    ├── InvalidParameter      422   a parameter's value is wrong (it is named)
    │   └── InvalidModelFile  422   the named voice's file cannot be used
    ├── Unauthorized          401   no or a wrong key
    ├── Forbidden             403   this caller may not do this
    ├── NotFound              404   no such voice, session or route
    ├── RequestTimeout        408   an upload that stands still, or comes too slowly
    ├── Conflict              409   the session has a connection already
    ├── TooLarge              413   an upload, message or recording over the limit
    ├── UndecodableAudio      415   bytes that are no audio we can read
    ├── UpgradeRequired       426   a WebSocket that was asked for as a page
    ├── Cancelled             499   the caller went away, nobody reads the answer
    └── Unavailable           503   try again later
        ├── OverQuota         429   this caller has as much at once as is allowed
        └── MissingAsset      503   a shared network is not installed (says which, and how to get it)

Messages say what was wrong and what would be right. `http_status` and `websocket_close_code` are the one place that
maps them to the wire; anything that is not an AnivoiceError is a fault of the server's own (500 / 1011).
"""


class AnivoiceError(Exception):
    """Root of the tree. `str(error)` is one sentence for the user."""

    http_status = 500
    websocket_close_code = 1011


class InvalidRequest(AnivoiceError):
    http_status = 400
    websocket_close_code = 1008


class InvalidParameter(AnivoiceError):
    http_status = 422
    websocket_close_code = 1008


class InvalidModelFile(InvalidParameter):
    """A model file is truncated, foreign, hostile or mis-shaped."""


class Unauthorized(AnivoiceError):
    http_status = 401
    websocket_close_code = 1008


class Forbidden(AnivoiceError):
    http_status = 403
    websocket_close_code = 1008


class NotFound(AnivoiceError):
    http_status = 404
    websocket_close_code = 1008


class RequestTimeout(AnivoiceError):
    http_status = 408
    websocket_close_code = 1008


class Conflict(AnivoiceError):
    http_status = 409
    websocket_close_code = 1008


class TooLarge(AnivoiceError):
    http_status = 413
    websocket_close_code = 1009


class UndecodableAudio(AnivoiceError):
    http_status = 415
    websocket_close_code = 1008


class UpgradeRequired(AnivoiceError):
    http_status = 426
    websocket_close_code = 1002


class Cancelled(AnivoiceError):
    http_status = 499
    websocket_close_code = 1001


class Unavailable(AnivoiceError):
    """Cannot be served now. `retry_after_s` is a hint for the client, None if waiting does not help."""

    http_status = 503
    websocket_close_code = 1013

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverQuota(Unavailable):
    http_status = 429


class MissingAsset(Unavailable):
    """A shared network (content encoder, rmvpe, ...) is not installed; the message says how to get it."""

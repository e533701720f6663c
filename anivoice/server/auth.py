"""The API key: `Authorization: Bearer KEY`, where one is set."""

import hashlib
import hmac
import logging

from anivoice.config import Settings
from anivoice.errors import Unauthorized
from anivoice.server.origins import is_loopback

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/healthz", "/docs", "/openapi.json"})
"""They tell nothing about this installation: a sign of life, the page, and the description of the interface."""


def check_api_key(api_key: str | None, path: str, authorization: str | None) -> None:
    """Raises Unauthorized when a key is set, the path is not open, and the header does not carry the key."""
    if api_key is None or path in OPEN_PATHS:
        return
    if authorization is None:
        raise Unauthorized("this server wants its key: send the header `Authorization: Bearer KEY`")
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not _equal(given.strip(), api_key):
        raise Unauthorized("the key is wrong: send the server's key as `Authorization: Bearer KEY`")


def _equal(given: str, expected: str) -> bool:
    """Compared by digest, so that the time tells neither the content nor the length."""
    digests = (hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (given, expected))
    return hmac.compare_digest(*digests)


def warn_if_open(settings: Settings) -> None:
    """Says so when the server can be reached from other machines and asks nobody for a key."""
    if settings.api_key is None and not is_loopback(settings.host):
        logger.warning(
            "listening on %s without an API key: everyone who reaches this machine can use the server; "
            "set ANIVOICE_API_KEY (or --api-key), or listen on 127.0.0.1",
            settings.host,
        )

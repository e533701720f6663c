"""Who calls: API keys (`Authorization: Bearer KEY`), where there are any, and what each caller may have at once.

Keys are one of the settings, or lie in a file: several, each with a name and limits. The file is read again when it
changes, so a key is replaced without a restart.
"""

import base64
import hashlib
import hmac
import logging
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from anivoice.config import Settings
from anivoice.errors import InvalidParameter, Unauthorized
from anivoice.parameters import describe_validation_error
from anivoice.server.origins import is_loopback

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/healthz", "/docs", "/obs", "/openapi.json", "/client.js"})
OPEN_FOLDER = "/web/"
"""They tell nothing about this installation: a sign of life, the page, and the description of the interface."""

MIN_KEY_CHARS = 8
LOOK_AGAIN_S = 1.0
"""The key file's stamp is looked at no more often."""

SUBPROTOCOL_OF_KEY = "key."
"""Before the key in base64url, in what a page offers."""

NO_LIMIT = 2**31


def is_open(path: str) -> bool:
    """Whether everybody may ask for it."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


@dataclass(frozen=True)
class Caller:
    """Whose request it is: a key's, or an address's where there are no keys. `name` tells callers apart."""

    name: str
    max_sessions: int = NO_LIMIT
    max_conversions: int = NO_LIMIT


ANYBODY = Caller("")


class KeyEntry(BaseModel):
    """A key of the file: `key`, or its SHA-256 in hex, so that the file holds no secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str | None = Field(None, min_length=MIN_KEY_CHARS)
    sha256: str | None = Field(None, pattern="^[0-9a-fA-F]{64}$")
    max_sessions: int = Field(NO_LIMIT, ge=0)
    max_conversions: int = Field(NO_LIMIT, ge=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            raise ValueError("give either key or sha256")
        return self

    @property
    def digest(self) -> bytes:
        return _digest(self.key) if self.key is not None else bytes.fromhex(self.sha256 or "")


class Keys:
    """The keys that are valid now. Belongs to the event loop.

    Raises InvalidParameter when the file cannot be used at the start; when it cannot later, those read before stay.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = settings.api_key_file
        self._per_peer = settings.max_conversions_per_peer
        self._clock = clock
        self._own = {} if settings.api_key is None else {_digest(settings.api_key): Caller("the server's key")}
        self._callers = self._own
        self._stamp: tuple[int, ...] = ()
        self._looked_s = clock()
        if self._file is not None:
            self._stamp = _stamp(self._file)
            self._callers = self._own | read_keys(self._file)

    @property
    def are_set(self) -> bool:
        """Whether callers need one."""
        return self._file is not None or bool(self._own)

    def check(self, path: str, authorization: str | None, peer: str) -> Caller:
        """Who calls. Raises Unauthorized when keys are set, the path is not open, and none of them is sent."""
        self._look_again()
        caller = self._caller_of(authorization)
        if caller is not None:
            return caller
        if not self.are_set or is_open(path):
            return Caller(peer, max_conversions=self._per_peer)
        if authorization is None:
            raise Unauthorized("this server wants its key: send the header `Authorization: Bearer KEY`")
        raise Unauthorized("the key is wrong: send the server's key as `Authorization: Bearer KEY`")

    def _caller_of(self, authorization: str | None) -> Caller | None:
        """Compared by digest and with all of them, so that the time tells neither content, nor length, nor which."""
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip())
        found = [caller for known, caller in self._callers.items() if hmac.compare_digest(known, digest)]
        return found[0] if found and scheme.lower() == "bearer" else None

    def _look_again(self) -> None:
        now_s = self._clock()
        if self._file is None or now_s - self._looked_s < LOOK_AGAIN_S:
            return
        self._looked_s = now_s
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._callers = self._own | read_keys(self._file)
            logger.info("the key file has changed: %d keys are valid", len(self._callers))
        except InvalidParameter as error:
            logger.error("the key file has changed and cannot be used, the keys read before stay valid: %s", error)


def read_keys(path: Path) -> dict[bytes, Caller]:
    """The keys of a TOML file, a table for each: `[alice]`, `key = "..."`, `max_sessions = 2`.

    Raises InvalidParameter; its message holds no key.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not TOML in UTF-8"
        raise InvalidParameter(f"api_key_file: {path.name} cannot be read ({reason})") from None
    if not tables:
        raise InvalidParameter(f"api_key_file: {path.name} has no key; add a table: [name] and below it key = ...")
    return dict(_entry(name, table) for name, table in tables.items())


def _entry(name: str, table: object) -> tuple[bytes, Caller]:
    if not isinstance(table, dict):
        raise InvalidParameter(f"api_key_file: {name} is no table; write [name] and below it key = ...")
    try:
        entry = KeyEntry.model_validate(table)
    except ValidationError as error:
        told = describe_validation_error(error, KeyEntry, show_input=False)
        raise InvalidParameter(f"api_key_file: [{name}] {told}") from None
    return entry.digest, Caller(f"key {name}", entry.max_sessions, entry.max_conversions)


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when the file does; () while there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def authorization_of(headers: Mapping[str, str]) -> str | None:
    """The header `Authorization`. Pages cannot set it on a WebSocket: they offer a subprotocol, `key.` and the key in
    base64url without padding.
    """
    if "Authorization" in headers:
        return headers["Authorization"]
    for offered in headers.get("Sec-WebSocket-Protocol", "").split(","):
        name = offered.strip()
        if name.startswith(SUBPROTOCOL_OF_KEY):
            return f"Bearer {_from_base64url(name.removeprefix(SUBPROTOCOL_OF_KEY))}"
    return None


def _from_base64url(text: str) -> str:
    """Empty for what is none."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def warn_if_open(settings: Settings) -> None:
    """Says so when the server can be reached from other machines and asks nobody for a key."""
    if settings.api_key is None and settings.api_key_file is None and not is_loopback(settings.host):
        logger.warning(
            "listening on %s without an API key: everyone who reaches this machine can use the server; "
            "set ANIVOICE_API_KEY or --api-key-file, or listen on 127.0.0.1",
            settings.host,
        )

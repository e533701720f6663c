"""Which web pages may call the server, and under which names it answers (against DNS rebinding).

A page of another site can make its visitor's browser send requests to a server on the visitor's own machine. So
requests that change something are refused when their Origin is foreign, and a server without a key answers to no name
that a stranger can register: an attacker's name that resolves to our address would otherwise make a foreign page look
like our own. Addresses, and names that only a local network gives, are nobody's.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from anivoice.config import Settings
from anivoice.errors import Forbidden

DEFAULT_PORTS = {"http": 80, "https": 443}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_SHOWN_CHARS = 100
FILE_ORIGINS = ("null", "file://")
LOCAL_ENDINGS = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
"""No name below these can be registered."""


@dataclass(frozen=True)
class OriginPolicy:
    """Made from the settings by `origin_policy`. `hosts` None: the server answers to every name."""

    any_origin: bool
    origins: frozenset[str]
    hosts: frozenset[str] | None
    only_loopback: bool = True

    def check_host(self, host: str | None) -> None:
        """Raises Forbidden for a Host header that is not ours. Without one (HTTP/1.0) no browser is at work."""
        if host is None or self.hosts is None or self.any_origin:
            return
        name = _host_name(host)
        if not is_loopback(name) and name not in self.hosts and (self.only_loopback or not is_local_name(name)):
            own = "localhost and 127.0.0.1" if self.only_loopback else "addresses and local names without a key"
            raise Forbidden(
                f"this server answers to {own}, not to {_shown(host)}; to allow the name set "
                f"ANIVOICE_ALLOWED_ORIGINS=https://{_shown(name, quoted=False)} (or --allowed-origins)"
            )

    def admits(self, origin: str, host: str | None) -> bool:
        """True if pages of `origin` may call: our own (same host and port as asked for) and the allowed ones."""
        normal = normal_origin(origin)
        if self.any_origin or normal in self.origins:
            return True
        if normal is None or host is None:
            return False
        own = (_as_origin("http", host), _as_origin("https", host))
        return _without_loopback_name(normal) in map(_without_loopback_name, filter(None, own))

    def check_origin(self, method: str, origin: str | None, host: str | None, is_upgrade: bool) -> None:
        """Raises Forbidden for a request that changes something (or opens a WebSocket) from a foreign page."""
        if origin is None or (method in SAFE_METHODS and not is_upgrade) or self.admits(origin, host):
            return
        raise Forbidden(
            f"pages of {_shown(origin)} may not call this server; to allow them set "
            "ANIVOICE_ALLOWED_ORIGINS (or --allowed-origins) to that origin"
        )


def origin_policy(settings: Settings) -> OriginPolicy:
    """The policy of the settings: names are checked unless a key is set on a server that others can reach."""
    origins = frozenset(filter(None, map(normal_origin, settings.allowed_origins)))
    named = {_host_name(origin.split("//", 1)[1]) for origin in origins if "//" in origin}
    only_loopback = is_loopback(settings.host)
    has_key = settings.api_key is not None or settings.api_key_file is not None
    hosts = None if has_key and not only_loopback else frozenset({settings.host.lower(), *named} - {""})
    return OriginPolicy("*" in settings.allowed_origins, origins, hosts, only_loopback)


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_local_name(name: str) -> bool:
    """True for what no stranger can point to our address: an IP address, a name without a dot, a local network's."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(LOCAL_ENDINGS))
    return True


def normal_origin(text: str) -> str | None:
    """`scheme://host[:port]` in lower case without a default port; `null` and `file://` as they are (pages of files,
    sandboxed ones, Electron). None if it is no such thing.
    """
    if (plain := text.strip().lower()) in FILE_ORIGINS:
        return plain
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown_port = "" if port is None or port == DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{host}{shown_port}"


def _without_loopback_name(origin: str) -> str:
    """localhost and 127.0.0.1 are the same machine: a page that came from one may call the other at the same port."""
    parts = urlsplit(origin)
    if not is_loopback(parts.hostname or ""):
        return origin
    return f"{parts.scheme}://localhost" + ("" if parts.port is None else f":{parts.port}")


def _as_origin(scheme: str, host: str) -> str | None:
    return normal_origin(f"{scheme}://{host}")


def _host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    origin = _as_origin("http", host)
    return "" if origin is None else (urlsplit(origin).hostname or "")


def _shown(text: str, quoted: bool = True) -> str:
    short = text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."
    return repr(short) if quoted else short

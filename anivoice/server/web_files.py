"""The files of the pages, read once at the start."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

CONTENT_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wav": "audio/wav",
}
"""Others, licences above all, are plain text."""


@dataclass(frozen=True)
class WebFile:
    """One file as it is sent."""

    body: bytes
    content_type: str
    etag: str


def load_web_files() -> Mapping[str, WebFile]:
    """Every file of the folder web/, by its address."""
    folder = resources.files("anivoice.server") / "web"
    files = {f"/web/{name}": _load(file) for name, file in _walk(folder, "")}
    return files | {
        "/": files["/web/index.html"],
        "/docs": files["/web/docs.html"],
        "/obs": files["/web/obs.html"],
        "/client.js": files["/web/client.js"],
    }


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


def _load(file: Traversable) -> WebFile:
    body = file.read_bytes()
    kind = CONTENT_TYPES.get("." + file.name.rpartition(".")[2], "text/plain")
    is_text = kind.startswith("text/") or kind.endswith(("json", "xml"))
    return WebFile(body, f"{kind}; charset=utf-8" if is_text else kind, hashlib.sha256(body).hexdigest()[:16])

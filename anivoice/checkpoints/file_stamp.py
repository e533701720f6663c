"""Whether a file on disk is still the one that was read."""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of each file: when it differs, something on disk has changed."""


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """The stamp of files that exist. One that cannot be looked at, such as a link to itself, counts by its name."""
    return tuple(map(_stamp_of, paths))


def _stamp_of(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), status.st_mtime_ns, status.st_size

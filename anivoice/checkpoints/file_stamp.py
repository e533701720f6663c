"""Whether a file on disk is still the one that was read."""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of each file: when it differs, something on disk has changed."""


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """The stamp of files that exist."""
    stats = ((path, path.stat()) for path in paths)
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)

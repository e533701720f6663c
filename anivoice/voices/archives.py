"""Taking what voices are shared as out of a `.zip`, into one flat folder, within limits."""

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from anivoice.errors import InvalidModelFile, TooLarge
from anivoice.voices.names import VOICE_SUFFIXES

WANTED_SUFFIXES = (*VOICE_SUFFIXES, ".index")
MAX_ENTRIES = 1000
MAX_RATIO = 20
"""How much larger than packed an entry may be: weights hardly shrink at all, zeros shrink a thousandfold."""


def unpack(archive: Path, folder: Path, max_bytes: int) -> list[str]:
    """Writes the voices and indexes of `archive` to `folder`, without their folders; returns the names left out.

    Raises InvalidModelFile for a damaged or hostile archive, TooLarge for one that holds more than `max_bytes`.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            wanted = [entry for entry in entries if _is_wanted(entry)]
            _check_paths(archive, entries)
            _check_sizes(archive, wanted, max_bytes)
            for entry in wanted:
                _write(packed, entry, folder)
            return [entry.filename for entry in entries if entry not in wanted]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise InvalidModelFile(f"{archive.name} is no sound .zip ({error}); pack it again") from error


def _check_paths(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidModelFile(f"{archive.name} holds {len(entries)} files; up to {MAX_ENTRIES} are taken")
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise InvalidModelFile(f"{archive.name} holds {entry.filename[:80]!r}, a path that leads out of it")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InvalidModelFile(f"{archive.name} holds {entry.filename[:80]!r}, a link; pack the file itself")


def _check_sizes(archive: Path, entries: list[zipfile.ZipInfo], max_bytes: int) -> None:
    for entry in entries:
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1024):
            raise InvalidModelFile(f"{archive.name} holds {entry.filename[:80]!r}, which is no voice but mere filling")
    if sum(entry.file_size for entry in entries) > max_bytes:
        raise TooLarge(f"{archive.name} holds more than the limit of {max_bytes // 2**20} MiB")


def _is_wanted(entry: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(entry.filename).name
    return name.lower().endswith(WANTED_SUFFIXES) and not name.startswith(".") and "__MACOSX" not in entry.filename


def _write(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """zipfile itself gives no more than the size that the entry claims."""
    target = folder / PurePosixPath(entry.filename).name
    if target.exists():
        raise InvalidModelFile(f"two files are called {target.name}; send one of them")
    with packed.open(entry) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 2**20)

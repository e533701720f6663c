"""Changes of `weights/`: voices come in whole and checked, are renamed, get defaults and pictures, and go."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anivoice.errors import Conflict, InvalidModelFile, InvalidParameter, NotFound
from anivoice.parameters import ConversionParameters
from anivoice.voices.archives import unpack
from anivoice.voices.catalogue import Catalogue, Unlisted, scan
from anivoice.voices.library import VoiceLibrary, read_index, read_voice
from anivoice.voices.names import fault_of_name, name_in_index, plain_name, spellings
from anivoice.voices.voice import VoiceFiles

STAGING_PREFIX = ".incoming-"
PICTURE_SUFFIXES: Mapping[str, bytes] = {".png": b"\x89PNG\r\n", ".jpg": b"\xff\xd8\xff", ".webp": b"RIFF"}
MAX_DEFAULTS_BYTES = 2**16


@dataclass(frozen=True)
class Added:
    """The names of voices that came, or got an index, and what of the upload was left out."""

    names: list[str]
    left_out: list[Unlisted]


class VoiceStore:
    """Changes the folder of a library. Thread-safe: one change at a time. `max_bytes`: of an unpacked archive."""

    def __init__(self, library: VoiceLibrary, max_bytes: int) -> None:
        self._library = library
        self._folder = library.weights_dir
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A hidden folder beside the voices for files that come, gone at the end with all that is still in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, staged: Path, name: str | None, replace: bool) -> Added:
        """Takes what lies in `staged` (made by `staging`) after a check of every file; all of it or nothing.

        Raises InvalidModelFile, InvalidParameter, NotFound (an index whose voice is not there), Conflict (a voice of
        that name is there and `replace` is not said), TooLarge.
        """
        left_out = [Unlisted(file, "it is no voice and no index") for file in self._unpack_all(staged)]
        left_out += self._drop_trained(staged)
        catalogue = scan(staged)
        self._pair_the_only_two(catalogue, staged)
        with self._lock:
            if not catalogue.voices:
                return self._add_index(staged, catalogue, name, left_out)
            renamed = self._renamed(catalogue, name)
            if not replace:
                self._refuse_known(renamed.values())
            for old, new in renamed.items():
                self._check(catalogue, old, new)
            for old, new in renamed.items():
                self._place(
                    catalogue.voices[old], catalogue.indexes[old].path if old in catalogue.indexes else None, new
                )
        return Added(sorted(renamed.values()), left_out + catalogue.unlisted)

    def rename(self, name: str, new: str) -> None:
        """Raises NotFound, InvalidParameter, Conflict."""
        new = _checked_name(new)
        with self._lock:
            files = self._library.find(name)
            if new == files.name:
                return
            self._refuse_known([new])
            index = files.index_path
            if index is not None and self._num_users(index) > 1:
                index = Path(shutil.copy(index, self._folder / f"{STAGING_PREFIX}{new}.index"))
            self._place(files.path, index, new)
            for path in self._companions(files.name):
                path.replace(self._folder / f"{new}{path.suffix}")
            self._remove_empty(files.path.parent)

    def remove(self, name: str) -> None:
        """The voice, its settings and picture, and its index unless another voice uses it. Raises NotFound."""
        with self._lock:
            files = self._library.find(name)
            gone = [files.path, *self._companions(files.name)]
            if files.index_path is not None and self._num_users(files.index_path) == 1:
                gone.append(files.index_path)
            for path in gone:
                path.unlink(missing_ok=True)
            self._remove_empty(files.path.parent)

    def set_defaults(self, name: str, defaults: Mapping[str, Any]) -> None:
        """What a conversion with the voice takes where nothing is said. Raises NotFound, InvalidParameter."""
        if "model_name" in defaults:
            raise InvalidParameter("defaults: a voice cannot name another voice; leave model_name out")
        ConversionParameters.parse(defaults)
        with self._lock:
            files = self._library.find(name)
            settings = json.loads(files.settings_path.read_text("utf-8")) if files.settings_path else {}
            settings.pop("defaults", None)
            if defaults:
                settings["defaults"] = dict(defaults)
            text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
            if len(text) > MAX_DEFAULTS_BYTES:
                raise InvalidParameter("defaults: too long")
            self._write(self._folder / f"{files.name}.json", text.encode() if settings else None)

    def picture(self, name: str) -> Path | None:
        """Raises NotFound."""
        files = self._library.find(name)
        return next((path for path in self._companions(files.name) if path.suffix in PICTURE_SUFFIXES), None)

    def set_picture(self, name: str, content: bytes | None) -> None:
        """PNG, JPEG or WebP, known by its first bytes; None: none. Raises NotFound, InvalidParameter."""
        suffix = None if content is None else _picture_suffix(content)
        if content is not None and suffix is None:
            raise InvalidParameter("the picture is neither PNG nor JPEG nor WebP")
        with self._lock:
            name = self._library.find(name).name
            for path in self._companions(name):
                if path.suffix in PICTURE_SUFFIXES:
                    path.unlink()
            if content is not None:
                self._write(self._folder / f"{name}{suffix}", content)

    def _unpack_all(self, staged: Path) -> list[str]:
        left_out = list[str]()
        for archive in [path for path in staged.iterdir() if path.suffix.lower() == ".zip"]:
            left_out += unpack(archive, staged, self._max_bytes)
            archive.unlink()
        return left_out

    def _drop_trained(self, staged: Path) -> list[Unlisted]:
        trained = [path for path in staged.iterdir() if path.name.lower().startswith("trained_")]
        for path in trained:
            path.unlink()
        return [Unlisted(path.name, "a trained_*.index holds no vectors") for path in trained]

    def _pair_the_only_two(self, catalogue: Catalogue, staged: Path) -> None:
        """One voice and one index that come together belong together, whatever they are called."""
        added = [path for path in staged.iterdir() if path.suffix.lower() == ".index"]
        if len(catalogue.voices) == 1 and len(added) == 1 and not catalogue.indexes:
            (name,) = catalogue.voices
            index = staged / f"{name}.index"
            added[0].replace(index)
            again = scan(staged)
            catalogue.indexes, catalogue.unlisted = again.indexes, again.unlisted

    def _renamed(self, catalogue: Catalogue, name: str | None) -> dict[str, str]:
        if name is None:
            return {old: old for old in catalogue.voices}
        if len(catalogue.voices) > 1:
            raise InvalidParameter(f"name: {len(catalogue.voices)} voices came; leave the name out, or send one")
        return {next(iter(catalogue.voices)): _checked_name(name)}

    def _refuse_known(self, names: Iterable[str]) -> None:
        known = self._library.names()
        taken = next((name for name in names if name in known), None)
        if taken is not None:
            raise Conflict(f"there is a voice {taken!r} already; choose another name, or say replace")

    def _check(self, catalogue: Catalogue, old: str, new: str) -> None:
        """Reads the voice and its index as a conversion would."""
        index = catalogue.indexes.get(old)
        settings = self._folder / f"{new}.json"
        files = VoiceFiles(
            old, catalogue.voices[old], index.path if index else None, settings if settings.is_file() else None
        )
        _, checkpoint = read_voice(files)
        read_index(files, checkpoint.config)

    def _add_index(self, staged: Path, catalogue: Catalogue, name: str | None, left_out: list[Unlisted]) -> Added:
        indexes = [path for path in staged.iterdir() if path.suffix.lower() == ".index"]
        if len(indexes) != 1:
            told = "; ".join(f"{one.file}: {one.reason}" for one in [*catalogue.unlisted, *left_out][:5])
            raise InvalidModelFile(f"no voice came: send a .pth, .safetensors, .index or .zip ({told or 'nothing'})")
        files = self._library.find(name if name is not None else self._meant(indexes[0]))
        _, checkpoint = read_voice(files)
        read_index(VoiceFiles(files.name, files.path, indexes[0], None), checkpoint.config)
        indexes[0].replace(self._folder / f"{files.name}.index")
        return Added([files.name], left_out)

    def _meant(self, index: Path) -> str:
        meant = name_in_index(index.stem)
        name = next((name for name in self._library.names() if spellings(name) & meant), None)
        if name is None:
            raise NotFound(f"{index.name} is named for no voice that is here; say its voice in the field name")
        return name

    def _place(self, voice: Path, index: Path | None, name: str) -> None:
        """Under its final name. The index goes first: a voice that is seen has its index already."""
        suffix = voice.suffix.lower()
        if index is not None:
            index.replace(self._folder / f"{name}.index")
        voice.replace(self._folder / f"{name}{suffix}")
        for path in self._folder.iterdir():
            is_older = plain_name(path.name) == name and path.suffix.lower() in (".pth", ".safetensors")
            if is_older and path.name != f"{name}{suffix}":
                path.unlink()

    def _companions(self, name: str) -> list[Path]:
        paths = (self._folder / f"{name}{suffix}" for suffix in (".json", *PICTURE_SUFFIXES))
        return [path for path in paths if path.is_file()]

    def _num_users(self, index: Path) -> int:
        return sum(found.path == index for found in scan(self._folder).indexes.values())

    def _remove_empty(self, folder: Path) -> None:
        if folder != self._folder:
            with suppress(OSError):  # something else lies in it
                folder.rmdir()

    def _write(self, path: Path, content: bytes | None) -> None:
        if content is None:
            path.unlink(missing_ok=True)
            return
        unfinished = path.with_name(f"{STAGING_PREFIX}{os.getpid()}{path.suffix}")
        unfinished.write_bytes(content)
        unfinished.replace(path)


def _picture_suffix(content: bytes) -> str | None:
    if content.startswith(b"RIFF") and content[8:12] != b"WEBP":
        return None
    return next((suffix for suffix, magic in PICTURE_SUFFIXES.items() if content.startswith(magic)), None)


def _checked_name(name: str) -> str:
    """Raises InvalidParameter for what no voice can be called."""
    plain = plain_name(name.strip())
    fault = fault_of_name(plain) or ("it is too long" if len(os.fsencode(plain)) > 200 else None)
    if fault is not None:
        raise InvalidParameter(f"name: {fault}")
    return plain

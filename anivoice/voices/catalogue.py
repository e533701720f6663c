"""What lies in `weights/`: which files are voices, which index is whose, and why the rest is neither."""

import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from anivoice.voices.assets import is_encoder_directory, is_shared_file
from anivoice.voices.names import VOICE_SUFFIXES, fault_of_name, name_in_index, plain_name, spellings

INDEX_SUFFIX = ".index"
PACKED_SUFFIXES = frozenset({".zip", ".rar", ".7z"})
OTHER_MODEL_SUFFIXES = frozenset({".onnx", ".ckpt", ".pkl"})
_TRAINING = re.compile(r"^G_(\d+|latest)$", re.IGNORECASE)
_DISCRIMINATOR = re.compile(r"^(D_(\d+|latest)|(f0)?D(32|40|48)k)$", re.IGNORECASE)


@dataclass(frozen=True)
class Unlisted:
    """A file, as it is called below `weights/`, that is no voice or index that is used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class FoundIndex:
    """The index of a voice, and why it is taken for that voice's."""

    path: Path
    reason: str


@dataclass
class Catalogue:
    """Voices by name, their indexes, and the rest."""

    voices: dict[str, Path] = field(default_factory=dict)
    indexes: dict[str, FoundIndex] = field(default_factory=dict)
    unlisted: list[Unlisted] = field(default_factory=list)


def scan(weights_dir: Path) -> Catalogue:
    """Looks through the folder and the folders in it; no file is opened."""
    catalogue = Catalogue()
    if not weights_dir.is_dir():
        return catalogue
    files = [path for path in _visible(weights_dir) if not is_shared_file(path)]
    folders = [path for path in files if path.is_dir() and not is_encoder_directory(path)]
    _list_voices(catalogue, weights_dir, files)
    for folder in folders:
        _list_folder(catalogue, weights_dir, folder)
    _pair_indexes(catalogue, weights_dir, files, folders)
    catalogue.voices = dict(sorted(catalogue.voices.items()))
    catalogue.unlisted.sort(key=lambda one: one.file)
    return catalogue


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _list_voices(catalogue: Catalogue, weights_dir: Path, files: Iterable[Path]) -> None:
    ordered = sorted(files, key=lambda path: (path.suffix.lower() != ".pth", len(path.name), path.name))
    for path in ordered:
        if path.suffix.lower() in VOICE_SUFFIXES:
            _list_voice(catalogue, weights_dir, path, plain_name(path.name))
        elif path.suffix.lower() in PACKED_SUFFIXES:
            _explain(catalogue, weights_dir, path, "it is packed: unpack it here, or upload it to the server")
        elif path.suffix.lower() in OTHER_MODEL_SUFFIXES:
            _explain(catalogue, weights_dir, path, "it is no file of a voice that can be read; a voice's .pth is")


def _list_folder(catalogue: Catalogue, weights_dir: Path, folder: Path) -> None:
    """A folder for each voice: the only voice in it is called like the folder, several by their own names."""
    files = _visible(folder)
    voices = [path for path in files if path.suffix.lower() in VOICE_SUFFIXES and _fault_of_file(path) is None]
    if len(voices) == 1:
        _list_voice(catalogue, weights_dir, voices[0], plain_name(folder.name))
        files.remove(voices[0])
    _list_voices(catalogue, weights_dir, files)


def _list_voice(catalogue: Catalogue, weights_dir: Path, path: Path, name: str) -> None:
    fault = _fault_of_file(path) or fault_of_name(name)
    if fault is None and name in catalogue.voices:
        fault = f"{catalogue.voices[name].relative_to(weights_dir)} has the same name, {name}, and goes before it"
    if fault is None:
        catalogue.voices[name] = path
    else:
        _explain(catalogue, weights_dir, path, fault)


def _fault_of_file(path: Path) -> str | None:
    """Why a file with a voice's ending is none, as far as its name and its size tell."""
    stem = plain_name(path.name)
    if _DISCRIMINATOR.match(stem):
        return "it is the half of a training that judges, and has no voice in it"
    if _TRAINING.match(stem):
        return "it is a checkpoint of a training: export the voice from it (or rename it, to use it as it is)"
    try:
        status = path.stat()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no file"
    return None if status.st_size else "it is empty"


def _explain(catalogue: Catalogue, weights_dir: Path, path: Path, reason: str) -> None:
    catalogue.unlisted.append(Unlisted(str(path.relative_to(weights_dir)), reason))


def _pair_indexes(catalogue: Catalogue, weights_dir: Path, files: Iterable[Path], folders: Iterable[Path]) -> None:
    beside = [path for path in files if _is_index(path)]
    in_folders = {folder: [path for path in _visible(folder) if _is_index(path)] for folder in folders}
    for name, path in catalogue.voices.items():
        own_folder = path.parent if path.parent != weights_dir else weights_dir / name
        found = _index_of(name, path, beside, in_folders.get(own_folder, []))
        if found is not None:
            catalogue.indexes[name] = found
    used = {found.path for found in catalogue.indexes.values()}
    for path in [*beside, *(path for paths in in_folders.values() for path in paths)]:
        if path not in used:
            _explain(catalogue, weights_dir, path, _why_unused(path, used))


def _is_index(path: Path) -> bool:
    return path.suffix.lower() == INDEX_SUFFIX and path.is_file()


def _index_of(name: str, voice: Path, beside: list[Path], in_folder: list[Path]) -> FoundIndex | None:
    """The first of: called like the voice, in the voice's folder, named for the voice as trainers do."""
    names = {name, plain_name(voice.name)}
    exact = [path for path in (*in_folder, *beside) if plain_name(path.stem) in names]
    if exact:
        return FoundIndex(exact[0], "it is called like the voice")
    wanted = spellings(name) | spellings(plain_name(voice.name))
    for paths in (in_folder, beside):
        named = [path for path in paths if wanted & name_in_index(path.stem)]
        if named:
            chosen = _best(named)
            return FoundIndex(chosen, f"its name says that it is for {min(wanted & name_in_index(chosen.stem))}")
        if paths is in_folder and paths:
            return FoundIndex(_best(paths), "it lies in the voice's folder")
    return None


def _best(paths: Iterable[Path]) -> Path:
    """Added indexes hold the vectors; trained ones are empty."""
    ranks = ("added_", "", "trained_")
    return min(paths, key=lambda path: (_rank(path.name.lower(), ranks), path.name))


def _rank(name: str, ranks: tuple[str, ...]) -> int:
    return next((rank for rank, start in enumerate(ranks) if start and name.startswith(start)), 1)


def _why_unused(path: Path, used: set[Path]) -> str:
    if path.name.lower().startswith("trained_"):
        return "a trained_*.index holds no vectors; the added_*.index of the same voice does"
    meant = _shortest(name_in_index(path.stem))
    if any(meant in name_in_index(other.stem) for other in used):
        return "another index of the same voice goes before it"
    return f"no voice is called {meant}: name it like its voice, NAME.index"


def _shortest(names: Iterable[str]) -> str:
    return min(names, key=len, default="")

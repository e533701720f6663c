"""The folder of voices: what is there, what is wrong with it, and reading it."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anivoice.errors import AnivoiceError, InvalidModelFile, InvalidParameter, NotFound
from anivoice.models.voice_config import UnvoicedF0, VoiceConfig
from anivoice.voices.assets import EMBEDDED_VOICE
from anivoice.voices.catalogue import Unlisted, scan
from anivoice.voices.names import plain_name
from anivoice.voices.voice import VoiceFiles

if TYPE_CHECKING:  # the names of the voices are known without torch
    from anivoice.checkpoints.index_file import IvfIndex
    from anivoice.checkpoints.voice_file import VoiceCheckpoint

MAX_FILE_NAME_BYTES = 255
MAX_NAMED = 5
"""Voices that an error names; a folder may hold a thousand."""


@dataclass(frozen=True)
class VoiceSettings:
    """What a voice's own file does not say; `weights/NAME.json` does, see `settings_file`."""

    unvoiced_f0: UnvoicedF0 | None = None
    embedder_model: str | None = None
    sample_rate_hz: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of conversions where a request says nothing."""


@dataclass(frozen=True)
class VoiceEntry:
    """What is known about a voice without loading it to the device; `problem` says why it cannot be used."""

    name: str
    size_bytes: int
    config: VoiceConfig | None = None
    embedder_model: str | None = None
    unvoiced_f0: UnvoicedF0 = "zero"
    index_name: str | None = None
    index_reason: str | None = None
    file_name: str | None = None
    num_index_vectors: int | None = None
    problem: str | None = None
    index_problem: str | None = None


class VoiceLibrary:
    """The folder of voices. It holds no state: what changes on disk is seen at the next call."""

    def __init__(self, weights_dir: Path) -> None:
        self.weights_dir = weights_dir

    def names(self) -> list[str]:
        """Sorted names of all voices."""
        return list(scan(self.weights_dir).voices)

    def unlisted(self) -> list[Unlisted]:
        """What lies there and is neither a voice nor a voice's index, with the reason."""
        return scan(self.weights_dir).unlisted

    def find(self, name: str) -> VoiceFiles:
        """The voice's files. Raises NotFound that names the known voices, or those of them that sound alike."""
        catalogue = scan(self.weights_dir)
        name = plain_name(name)
        if name not in catalogue.voices:
            known = _known(name, list(catalogue.voices), self.weights_dir)
            raise NotFound(f"model_name: there is no voice {name!r}; {known}")
        index = catalogue.indexes.get(name)
        settings = self.weights_dir / f"{name}.json"
        has_settings = len(os.fsencode(settings.name)) <= MAX_FILE_NAME_BYTES and settings.is_file()
        return VoiceFiles(
            name,
            catalogue.voices[name],
            index.path if index else None,
            settings if has_settings else None,
            index.reason if index else None,
        )

    def default_name(self) -> str:
        """The voice when nobody named one: the only one there is beside the embedded one, or that one.

        Raises InvalidParameter or NotFound.
        """
        names = self.names()
        own = [name for name in names if name != EMBEDDED_VOICE]
        if len(names) == 1 or len(own) == 1:
            return (own or names)[0]
        if not names:
            raise NotFound(f"there is no voice yet; put a voice's .pth into {self.weights_dir}")
        raise InvalidParameter(
            f"model_name: say which voice (or set MODEL_NAME); {_known('', names, self.weights_dir)}"
        )

    def list(self) -> list[VoiceEntry]:
        """All voices with their problems; reads every file, so it takes a while."""
        return [self.describe(name) for name in self.names()]

    def describe(self, name: str) -> VoiceEntry:
        """One voice, read from disk."""
        files = self.find(name)
        entry = VoiceEntry(
            name=files.name,
            size_bytes=sum(size for _, _, size in files.stamp()),
            index_name=files.index_path.name if files.index_path else None,
            index_reason=files.index_reason,
            file_name=str(files.path.relative_to(self.weights_dir)),
        )
        try:
            settings, checkpoint = read_voice(files)
        except AnivoiceError as error:
            return replace(entry, problem=str(error))
        num_vectors, index_problem = None, None
        try:
            index = read_index(files, checkpoint.config)
            num_vectors = None if index is None else len(index.vectors)
        except AnivoiceError as error:
            index_problem = str(error)
        return replace(
            entry,
            config=checkpoint.config,
            embedder_model=settings.embedder_model or checkpoint.embedder_model,
            unvoiced_f0=settings.unvoiced_f0 or checkpoint.unvoiced_f0 or "zero",
            num_index_vectors=num_vectors,
            index_problem=index_problem,
        )


def _known(name: str, names: Sequence[str], weights_dir: Path) -> str:
    if not names:
        return f"known are: none; put a voice's .pth into {weights_dir}"
    if len(names) <= MAX_NAMED:
        return f"known are: {', '.join(names)}"
    nearest = difflib.get_close_matches(name, names, MAX_NAMED, cutoff=0) if name else names[:MAX_NAMED]
    return f"known are {', '.join(nearest)} and {len(names) - len(nearest)} more; GET /models lists all"


def read_settings(files: VoiceFiles) -> VoiceSettings:
    """Raises InvalidModelFile that names what is wrong in `NAME.json`."""
    if files.settings_path is None:
        return VoiceSettings()
    from anivoice.voices.settings_file import read_settings_file

    return read_settings_file(files.settings_path)


def read_voice(files: VoiceFiles) -> "tuple[VoiceSettings, VoiceCheckpoint]":
    """The voice's file and settings. Raises InvalidModelFile."""
    from anivoice.checkpoints.voice_file import load_voice_file

    settings = read_settings(files)
    return settings, load_voice_file(files.path, settings.sample_rate_hz)


def read_index(files: VoiceFiles, config: VoiceConfig) -> "IvfIndex | None":
    """The voice's index, None if it has none. Raises InvalidModelFile if it cannot be used with the voice."""
    from anivoice.checkpoints.index_file import read_index_file

    if files.index_path is None:
        return None
    index = read_index_file(files.index_path)
    if index.dim != config.content_dim:
        raise InvalidModelFile(
            f"index {files.index_path.name} has {index.dim} dimensions, but a {config.version} voice needs "
            f"{config.content_dim}; use the index that was made with the voice"
        )
    return index

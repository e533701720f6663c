"""The folder of voices: what is there, what is wrong with it, and reading it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anivoice.errors import AnivoiceError, InvalidModelFile, InvalidParameter, NotFound
from anivoice.models.voice_config import UnvoicedF0, VoiceConfig
from anivoice.voices.assets import EMBEDDED_VOICE, is_shared_file
from anivoice.voices.voice import VoiceFiles

if TYPE_CHECKING:  # the names of the voices are known without torch
    from anivoice.checkpoints.index_file import IvfIndex
    from anivoice.checkpoints.voice_file import VoiceCheckpoint

VOICE_SUFFIXES = (".pth", ".safetensors")


@dataclass(frozen=True)
class VoiceSettings:
    """What a voice's own file does not say; `weights/NAME.json` does, see `settings_file`."""

    unvoiced_f0: UnvoicedF0 | None = None
    embedder_model: str | None = None
    sample_rate_hz: int | None = None


@dataclass(frozen=True)
class VoiceEntry:
    """What is known about a voice without loading it to the device; `problem` says why it cannot be used."""

    name: str
    size_bytes: int
    config: VoiceConfig | None = None
    embedder_model: str | None = None
    unvoiced_f0: UnvoicedF0 = "zero"
    index_name: str | None = None
    num_index_vectors: int | None = None
    problem: str | None = None
    index_problem: str | None = None


class VoiceLibrary:
    """The folder of voices. It holds no state: what changes on disk is seen at the next call."""

    def __init__(self, weights_dir: Path) -> None:
        self.weights_dir = weights_dir

    def names(self) -> list[str]:
        """Sorted names of all voices."""
        if not self.weights_dir.is_dir():
            return []
        files = (path for path in self.weights_dir.iterdir() if path.suffix in VOICE_SUFFIXES and path.is_file())
        return sorted({path.stem for path in files if not is_shared_file(path) and not path.name.startswith(".")})

    def find(self, name: str) -> VoiceFiles:
        """The voice's files. Raises NotFound that lists the known voices."""
        names = self.names()
        if name not in names:
            known = ", ".join(names) if names else f"none; put a voice's .pth into {self.weights_dir}"
            raise NotFound(f"model_name: there is no voice {name!r}; known are: {known}")
        candidates = (self.weights_dir / (name + suffix) for suffix in VOICE_SUFFIXES)
        settings = self.weights_dir / f"{name}.json"
        return VoiceFiles(
            name,
            next(path for path in candidates if path.is_file()),
            self._find_index(name, names),
            settings if settings.is_file() else None,
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
        raise InvalidParameter(f"model_name: say which voice (or set MODEL_NAME); known are: {', '.join(names)}")

    def list(self) -> list[VoiceEntry]:
        """All voices with their problems; reads every file, so it takes a while."""
        return [self.describe(name) for name in self.names()]

    def describe(self, name: str) -> VoiceEntry:
        """One voice, read from disk."""
        files = self.find(name)
        size_bytes = sum(size for _, _, size in files.stamp())
        index_name = files.index_path.name if files.index_path else None
        try:
            settings, checkpoint = read_voice(files)
        except AnivoiceError as error:
            return VoiceEntry(name, size_bytes, index_name=index_name, problem=str(error))
        num_vectors, index_problem = None, None
        try:
            index = read_index(files, checkpoint.config)
            num_vectors = None if index is None else len(index.vectors)
        except AnivoiceError as error:
            index_problem = str(error)
        return VoiceEntry(
            name,
            size_bytes,
            checkpoint.config,
            settings.embedder_model or checkpoint.embedder_model,
            settings.unvoiced_f0 or checkpoint.unvoiced_f0 or "zero",
            index_name,
            num_vectors,
            index_problem=index_problem,
        )

    def _find_index(self, name: str, names: Sequence[str]) -> Path | None:
        """`NAME.index`, else one in the folder `NAME`, else `added_*NAME*.index`; added ones before trained ones.

        `added_*alice2*.index` is not `alice`'s where there is a voice `alice2`: `names` are those of all voices.
        """
        exact = self.weights_dir / f"{name}.index"
        if exact.is_file():
            return exact
        longer = [other.lower() for other in names if name.lower() in other.lower() and len(other) > len(name)]
        beside = [
            path
            for path in self.weights_dir.glob("*.index")
            if name.lower() in path.stem.lower() and not any(other in path.stem.lower() for other in longer)
        ]
        for group in ([*(self.weights_dir / name).glob("*.index")], beside):
            group = [path for path in group if path.is_file()]
            added = [path for path in group if path.name.startswith("added_")]
            trained = [path for path in group if path.name.startswith("trained_")]
            others = [path for path in group if path not in added and path not in trained and group is not beside]
            found = sorted(added) or sorted(others) or sorted(trained)
            if found:
                return found[0]
        return None


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

"""The voices in `weights/`: what is there, what is wrong with it, loading, and keeping what is in use in memory."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from anivoice.assets import find_content_encoder, is_shared_file
from anivoice.errors import AnivoiceError, InvalidModelFile, InvalidParameter, MissingAsset, NotFound
from anivoice.models.voice_config import UnvoicedF0, VoiceConfig
from anivoice.parameters import describe_validation_error

if TYPE_CHECKING:  # loading the voices' names must not import torch
    from anivoice.models.checkpoints.index_file import IvfIndex
    from anivoice.models.checkpoints.voice_file import VoiceCheckpoint
    from anivoice.models.hubert import HubertModel
    from anivoice.models.vits import Synthesizer
    from anivoice.stages.content_encoder import ContentEncoder
    from anivoice.stages.converter import Converter

VOICE_SUFFIXES = (".pth", ".safetensors")
DEFAULT_EMBEDDERS = ("contentvec", "hubert_base", "hubert", "content-vec-best")
"""Names under which voices call the usual content encoder."""

Stamp = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of each file: when it differs, something on disk has changed."""


class VoiceSettings(BaseModel):
    """`weights/NAME.json`: what the voice's own file does not say."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    unvoiced_f0: UnvoicedF0 | None = None
    embedder_model: str | None = None
    sample_rate_hz: int | None = None


@dataclass(frozen=True)
class VoiceFiles:
    """The files of one voice."""

    name: str
    path: Path
    index_path: Path | None
    settings_path: Path | None

    def stamp(self) -> Stamp:
        return stamp_of(path for path in (self.path, self.index_path, self.settings_path) if path is not None)


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
        """The voice when nobody named one: the only one there is. Raises InvalidParameter or NotFound."""
        names = self.names()
        if len(names) == 1:
            return names[0]
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


def stamp_of(paths: Iterator[Path]) -> Stamp:
    """The stamp of files that exist."""
    stats = ((path, path.stat()) for path in paths)
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)


def read_settings(files: VoiceFiles) -> VoiceSettings:
    """Raises InvalidModelFile that names what is wrong in `NAME.json`."""
    if files.settings_path is None:
        return VoiceSettings()
    try:
        return VoiceSettings.model_validate(json.loads(files.settings_path.read_text("utf-8")))
    except ValidationError as error:
        reason = describe_validation_error(error, VoiceSettings)
    except (OSError, ValueError, RecursionError) as error:
        reason = f"it is not JSON ({error})"
    raise InvalidModelFile(f"{files.settings_path.name} cannot be used: {reason}")


def read_voice(files: VoiceFiles) -> "tuple[VoiceSettings, VoiceCheckpoint]":
    """The voice's file and settings. Raises InvalidModelFile."""
    from anivoice.models.checkpoints.voice_file import load_voice_file

    settings = read_settings(files)
    return settings, load_voice_file(files.path, settings.sample_rate_hz)


def read_index(files: VoiceFiles, config: VoiceConfig) -> "IvfIndex | None":
    """The voice's index, None if it has none. Raises InvalidModelFile if it cannot be used with the voice."""
    from anivoice.models.checkpoints.index_file import read_index_file

    if files.index_path is None:
        return None
    index = read_index_file(files.index_path)
    if index.dim != config.content_dim:
        raise InvalidModelFile(
            f"index {files.index_path.name} has {index.dim} dimensions, but a {config.version} voice needs "
            f"{config.content_dim}; use the index that was made with the voice"
        )
    return index


@dataclass(eq=False)
class SharedEncoder:
    """A content encoder in memory; `placed` belongs to the engine thread."""

    path: Path
    stamp: Stamp
    model: "HubertModel"
    placed: "ContentEncoder | None" = None


@dataclass(eq=False)
class Voice:
    """A voice in memory. `placed` belongs to the engine thread, the rest does not change but for the index."""

    files: VoiceFiles
    stamp: Stamp
    config: VoiceConfig
    unvoiced_f0: UnvoicedF0
    model: "Synthesizer"
    encoder: SharedEncoder
    index: "IvfIndex | None" = None
    placed: "Converter | None" = None
    placed_bytes: int = 0
    num_users: int = 0

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def num_bytes(self) -> int:
        """Memory of weights, index, and what the engine made of them."""
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        return weights + self.placed_bytes + (0 if self.index is None else self.index.vectors.nbytes)


class VoiceCache:
    """Loaded voices, the least recently used of them dropped beyond `max_bytes` unless in use. Thread-safe.

    `acquire` reads files: call it on a worker thread. A voice is loaded once however many ask for it at the same time.
    """

    def __init__(self, library: VoiceLibrary, max_bytes: int) -> None:
        self.library = library
        self.max_bytes = max_bytes
        self._voices: OrderedDict[str, Voice] = OrderedDict()
        self._encoders: dict[Path, SharedEncoder] = {}
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._loading_encoder = threading.Lock()

    @contextmanager
    def using(self, name: str, with_index: bool) -> Iterator[Voice]:
        """The voice, kept in memory for the duration of the block."""
        voice = self.acquire(name, with_index)
        try:
            yield voice
        finally:
            self.release(voice)

    def acquire(self, name: str, with_index: bool) -> Voice:
        """The voice, loaded if need be. Raises NotFound, InvalidModelFile, MissingAsset."""
        files = self.library.find(name)
        with self._lock:
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:
            try:
                voice = self._loaded(files)
                if with_index and voice.index is None:
                    voice.index = _index_for_use(files, voice.config)
            except FileNotFoundError as error:
                raise NotFound(f"model_name: a file of voice {name!r} has just been removed; try again") from error
            with self._lock:
                self._voices[name] = voice
                self._voices.move_to_end(name)
                voice.num_users += 1
                self._shrink()
        return voice

    def release(self, voice: Voice) -> None:
        """The caller is done with what `acquire` gave."""
        with self._lock:
            voice.num_users -= 1
            self._shrink()

    def evict_idle(self) -> bool:
        """Drops the least recently used voice that is not in use. False if there is none."""
        with self._lock:
            name = next((name for name, voice in self._voices.items() if voice.num_users == 0), None)
            if name is not None:
                del self._voices[name]
        return name is not None

    @property
    def num_bytes(self) -> int:
        """Memory of all voices kept."""
        return sum(voice.num_bytes for voice in list(self._voices.values()))

    def loaded_names(self) -> list[str]:
        """Voices in memory, the least recently used first."""
        with self._lock:
            return list(self._voices)

    def _shrink(self) -> None:
        for name, voice in list(self._voices.items()):
            if self.num_bytes <= self.max_bytes:
                return
            if voice.num_users == 0 and name != next(reversed(self._voices)):
                del self._voices[name]

    def _loaded(self, files: VoiceFiles) -> Voice:
        stamp = files.stamp()
        with self._lock:
            voice = self._voices.get(files.name)
        if voice is not None and voice.stamp == stamp and voice.encoder.stamp == _encoder_stamp(voice.encoder.path):
            return voice
        return self._load(files, stamp)

    def _load(self, files: VoiceFiles, stamp: Stamp) -> Voice:
        from anivoice.models.vits import build_synthesizer

        settings, checkpoint = read_voice(files)
        encoder = self._encoder(files, settings.embedder_model or checkpoint.embedder_model)
        _check_encoder_fits(encoder, checkpoint.config)
        return Voice(
            files,
            stamp,
            checkpoint.config,
            settings.unvoiced_f0 or checkpoint.unvoiced_f0 or "zero",
            build_synthesizer(checkpoint.config, checkpoint.state),
            encoder,
        )

    def _encoder(self, files: VoiceFiles, embedder_model: str | None) -> SharedEncoder:
        """The content encoder the voice was made for, loaded once for all voices."""
        from anivoice.models.checkpoints.content_file import load_content_encoder_state
        from anivoice.models.hubert import build_hubert

        path = find_encoder(self.library.weights_dir, embedder_model)
        if path is None:
            raise MissingAsset(missing_encoder_message(files.name, embedder_model, self.library.weights_dir))
        stamp = _encoder_stamp(path)
        with self._loading_encoder:
            known = self._encoders.get(path)
            if known is None or known.stamp != stamp:
                known = SharedEncoder(path, stamp, build_hubert(*load_content_encoder_state(path)))
                self._encoders[path] = known
        return known


def find_encoder(weights_dir: Path, embedder_model: str | None) -> Path | None:
    """Where the content encoder of that name lies: the usual one, or the folder or file of the name in `weights/`."""
    if embedder_model is None or embedder_model.lower() in DEFAULT_EMBEDDERS:
        return find_content_encoder(weights_dir)
    name = Path(embedder_model).name
    # A voice's file says the name: it is looked up among what is there, and never made a path of.
    present = {path.name: path for path in weights_dir.iterdir()} if weights_dir.is_dir() else {}
    return next((present[file] for file in (name, f"{name}.safetensors", f"{name}.pt") if file in present), None)


def missing_encoder_message(voice_name: str, embedder_model: str | None, weights_dir: Path) -> str:
    """What to do about it."""
    if embedder_model is None or embedder_model.lower() in DEFAULT_EMBEDDERS:
        return f"the content encoder is missing in {weights_dir}: run `anivoice fetch contentvec`"
    return (
        f"voice {voice_name!r} was made for the content encoder {embedder_model!r}, which is not in {weights_dir}: put "
        f"its Hugging Face folder there as {weights_dir / Path(embedder_model).name}"
    )


def _check_encoder_fits(encoder: SharedEncoder, config: VoiceConfig) -> None:
    """Raises InvalidModelFile if the encoder's features are not as wide as the voice needs them."""
    width = encoder.model.config.feature_size(config.version)
    if width != config.content_dim:
        raise InvalidModelFile(
            f"content encoder {encoder.path.name} gives {width} features, but a {config.version} voice needs "
            f"{config.content_dim}; use the encoder that the voice was made for"
        )


def _encoder_stamp(path: Path) -> Stamp:
    """The stamp of an encoder's file or folder; of one that is gone an empty one, which no loaded encoder has."""
    if path.is_dir():
        return stamp_of(iter(sorted(path.iterdir())))
    return stamp_of(iter([path])) if path.exists() else ()


def _index_for_use(files: VoiceFiles, config: VoiceConfig) -> "IvfIndex | None":
    try:
        return read_index(files, config)
    except InvalidModelFile as error:
        raise InvalidModelFile(f"{error}; or set index_rate to 0 to do without") from error

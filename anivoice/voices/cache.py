"""Loaded voices: what is in use stays in memory, what changed on disk is read again."""

import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anivoice.checkpoints.file_stamp import Stamp, stamp_of
from anivoice.errors import InvalidModelFile, MissingAsset, NotFound
from anivoice.models.voice_config import VoiceConfig
from anivoice.voices.encoder_pairing import check_choice, check_pairing, find_encoder, missing_encoder_message
from anivoice.voices.library import VoiceLibrary, read_index, read_voice
from anivoice.voices.voice import SharedEncoder, Voice, VoiceFiles

if TYPE_CHECKING:
    from anivoice.checkpoints.index_file import IvfIndex
    from anivoice.checkpoints.voice_file import VoiceCheckpoint
    from anivoice.voices.library import VoiceSettings


class VoiceCache:
    """Loaded voices, the least recently used of them dropped beyond `max_bytes` unless in use. Thread-safe.

    `acquire` reads files: call it on a worker thread. A voice is loaded once however many ask for it at the same time.
    """

    def __init__(self, library: VoiceLibrary, max_bytes: int) -> None:
        self.library = library
        self.max_bytes = max_bytes
        self._voices: OrderedDict[str, Voice] = OrderedDict()
        self._encoders: dict[Path, SharedEncoder] = {}
        self._failed: dict[str, tuple[Stamp, str]] = {}
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

    def evict_idle(self) -> Voice | None:
        """Drops the least recently used voice that is not in use, and returns it. None if there is none."""
        with self._lock:
            name = next((name for name, voice in self._voices.items() if voice.num_users == 0), None)
            return None if name is None else self._voices.pop(name)

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

        settings, checkpoint = self._read(files, stamp)
        check_choice(files.name, checkpoint.embedder_model, settings.embedder_model)
        embedder_model = settings.embedder_model or checkpoint.embedder_model
        encoder = self._encoder(files, embedder_model)
        check_pairing(files.name, embedder_model, encoder.model.encoder_id, encoder.path)
        _check_encoder_fits(encoder, checkpoint.config)
        return Voice(
            files,
            stamp,
            checkpoint.config,
            settings.unvoiced_f0 or checkpoint.unvoiced_f0 or "zero",
            build_synthesizer(checkpoint.config, checkpoint.state),
            encoder,
        )

    def _read(self, files: VoiceFiles, stamp: Stamp) -> "tuple[VoiceSettings, VoiceCheckpoint]":
        """Reads a file that cannot be used once, until it changes, and keeps nothing of what it held."""
        failed = self._failed.get(files.name)
        if failed is not None and failed[0] == stamp:
            raise InvalidModelFile(failed[1])
        try:
            return read_voice(files)
        except InvalidModelFile as error:
            if not files.path.exists():
                raise FileNotFoundError(files.path) from error
            self._failed[files.name] = (stamp, str(error))
            forget_frames(error)
            raise

    def _encoder(self, files: VoiceFiles, embedder_model: str | None) -> SharedEncoder:
        """The content encoder the voice was made for, loaded once for all voices."""
        from anivoice.checkpoints.content_file import load_content_model

        path = find_encoder(self.library.weights_dir, embedder_model)
        if path is None:
            raise MissingAsset(missing_encoder_message(files.name, embedder_model, self.library.weights_dir))
        stamp = _encoder_stamp(path)
        with self._loading_encoder:
            known = self._encoders.get(path)
            if known is None or known.stamp != stamp:
                known = SharedEncoder(path, stamp, load_content_model(path))
                self._encoders[path] = known
        return known


def forget_frames(error: BaseException) -> None:
    """Empties the frames that the error, and those that it came from, passed: they hold the whole file's tensors.

    Whoever keeps the error (a future does, and is kept by it) keeps them, until the garbage collector comes by.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


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

"""Recordings of any kind in blocks of all their channels: by libsndfile, and by FFmpeg (PyAV) what that cannot read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.containers import check_mp4, sniff
from anivoice.errors import UndecodableAudio

BLOCK_FRAMES = 65536
Block = NDArray[np.float32]
"""`[frames, channels]`, -1..1"""

MIN_SOURCE_RATE_HZ, MAX_SOURCE_RATE_HZ = 1000, 768000
MAX_SOURCE_CHANNELS = 64
FFMPEG_ONLY = frozenset({"mp3", "mov", "matroska", "aac", "asf", "wv", "ac3", "amr"})
"""libsndfile knows of these only MP3, and then writes about damaged files to the process's stderr."""

MAX_KNOWN_FRAMES = 2**62
"""From here on libsndfile's count of frames means that the header holds none: the file was written to a pipe."""

INT_SCALE = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31}
CAN_BE_READ = "WAV, FLAC, OGG, MP3, M4A, AAC, WebM, WMA, AIFF and many others can be read"


@dataclass
class Sound:
    """An opened recording. `num_damaged` counts, while the blocks are read, packets that could not be decoded."""

    sample_rate_hz: int
    num_channels: int
    blocks: Iterator[Block] = field(default_factory=lambda: iter(()))
    num_damaged: int = 0


@contextmanager
def open_sound(file: BinaryIO) -> Iterator[Sound]:
    """The recording in `file`, from its beginning. Raises UndecodableAudio, also while the blocks are read."""
    container = sniff(file)
    opened = None if container in FFMPEG_ONLY else _open_by_libsndfile(file, may_give_up=container is not None)
    if opened is not None:
        with opened as sound_file:
            yield Sound(sound_file.samplerate, sound_file.channels, _libsndfile_blocks(sound_file))
        return
    assert container is not None
    file.seek(0)
    with _by_ffmpeg(file, container) as sound:
        yield sound


def _open_by_libsndfile(file: BinaryIO, may_give_up: bool) -> Any:
    """The opened file; None, where `may_give_up`, if another reader should try."""
    import soundfile

    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a file named .raw, which tells no format
        if may_give_up:
            return None
        reason = str(error).removeprefix("Error opening ").split(": ", 1)[-1].rstrip(".")
        raise UndecodableAudio(f"audio_file is not audio that can be decoded ({reason}); {CAN_BE_READ}") from error
    if may_give_up and not 0 < sound.frames < MAX_KNOWN_FRAMES:
        sound.close()
        return None
    try:
        check_format(sound.samplerate, sound.channels)
    except UndecodableAudio:
        sound.close()
        raise
    return sound


def _libsndfile_blocks(sound_file: Any) -> Iterator[Block]:
    import soundfile

    try:
        while len(block := sound_file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
            yield block
    except soundfile.SoundFileError as error:
        raise UndecodableAudio(f"audio_file is damaged ({str(error).rstrip('.')}); send it anew") from error


def check_format(sample_rate_hz: int, num_channels: int) -> None:
    """Raises UndecodableAudio for what no recording has."""
    if not MIN_SOURCE_RATE_HZ <= sample_rate_hz <= MAX_SOURCE_RATE_HZ:
        raise UndecodableAudio(
            f"audio_file has a sample rate of {sample_rate_hz} Hz; {MIN_SOURCE_RATE_HZ} to {MAX_SOURCE_RATE_HZ} are "
            "understood"
        )
    if not 1 <= num_channels <= MAX_SOURCE_CHANNELS:
        raise UndecodableAudio(f"audio_file has {num_channels} channels; up to {MAX_SOURCE_CHANNELS} are understood")


@contextmanager
def _by_ffmpeg(file: BinaryIO, container: str) -> Iterator[Sound]:
    import av

    with _ffmpeg_errors(container):
        if container == "mov":
            check_mp4(file)
        opened = av.open(file, format=container)
    with opened:
        yield _first_audio_stream(opened, container)


def _first_audio_stream(opened: Any, container: str) -> Sound:
    """The rate is the first frame's: HE-AAC's header names half of it."""
    if not opened.streams.audio:
        raise UndecodableAudio("audio_file holds no audio, only pictures or data")
    stream = opened.streams.audio[0]
    if stream.codec_context is None:
        raise UndecodableAudio(f"audio_file holds a kind of audio that is not known; {CAN_BE_READ}")
    sound = Sound(stream.rate or MIN_SOURCE_RATE_HZ, max(stream.channels, 1))
    check_format(sound.sample_rate_hz, sound.num_channels)
    frames = _frames(opened, stream, sound, container)
    first = next(frames, None)
    if first is not None:
        sound.sample_rate_hz, sound.num_channels = first.sample_rate, first.layout.nb_channels
        check_format(sound.sample_rate_hz, sound.num_channels)
        sound.blocks = _joined(first, frames)
    return sound


def _frames(opened: Any, stream: Any, sound: Sound, container: str) -> Iterator[Any]:
    """The stream's decoded frames. What is damaged is passed over and counted."""
    import av

    packets = opened.demux(stream)
    while True:
        with _ffmpeg_errors(container):
            try:
                packet = next(packets, None)
                frames = [] if packet is None else stream.decode(packet)
            except av.FFmpegError:
                sound.num_damaged += 1
                continue
        if packet is None:
            return
        yield from frames


@contextmanager
def _ffmpeg_errors(container: str) -> Iterator[None]:
    """What FFmpeg raises, in our own words."""
    import av

    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")[:100]
        raise UndecodableAudio(
            f"audio_file begins as {container} but cannot be decoded ({reason}); {CAN_BE_READ}"
        ) from error


def _joined(first: Any, frames: Iterator[Any]) -> Iterator[Block]:
    """Frames as blocks; codecs give some tens of milliseconds at a time, which are joined to about a second."""
    waiting, num_waiting = [_samples(first)], first.samples
    for frame in frames:
        if frame.sample_rate != first.sample_rate or frame.layout.nb_channels != first.layout.nb_channels:
            raise UndecodableAudio("audio_file changes its sample rate or its channels in the middle; save it anew")
        waiting.append(_samples(frame))
        num_waiting += frame.samples
        if num_waiting >= BLOCK_FRAMES:
            yield np.concatenate(waiting)
            waiting, num_waiting = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _samples(frame: Any) -> Block:
    """A decoded frame, planar or not, of any type of numbers -> `[frames, channels]`."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    kind = frame.format.packed.name
    if kind == "u8":
        values = values.astype(np.int16) - 128
    return np.ascontiguousarray(values.astype(np.float32) * np.float32(INT_SCALE.get(kind, 1.0)))

"""Audio files in and out, in blocks: any that can be read, mono; temporary audio that outlives nothing."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.mixdown import ChannelLevels
from anivoice.audio.resampler import StreamResampler
from anivoice.audio.sound_reader import BLOCK_FRAMES, open_sound
from anivoice.errors import InvalidParameter, TooLarge, UndecodableAudio

OutputFormat = Literal["wav", "flac", "ogg", "mp3"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
CONTENT_TYPES: dict[OutputFormat, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
}
MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MIN_RATE_HZ, MAX_RATE_HZ = 8000, 192000
SYNTHETIC_NOTE = "Synthetic voice: speech changed by a computer (anivoice)."
"""The comment in the tags of every converted file (EU AI Act, Article 50: marked in a machine-readable way)."""

INT16_SCALE = 32768


class Scratch:
    """Mono float32 audio in a temporary file without a name: it is gone when closed, or when the process dies."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="anivoice-")  # noqa: SIM115 - closed by `close`
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        start, stop, step = part.indices(self._length)
        if step != 1:
            raise ValueError("a Scratch is read without steps")
        self._file.seek(4 * start)
        return np.frombuffer(bytearray(self._file.read(4 * max(stop - start, 0))), np.float32)

    def append(self, samples: NDArray[np.float32] | NDArray[np.float64]) -> None:
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(samples, np.float32).tobytes())
        self._length += len(samples)

    def blocks(self, block_samples: int = BLOCK_FRAMES) -> Iterator[NDArray[np.float32]]:
        for start in range(0, self._length, block_samples):
            yield self[start : start + block_samples]

    def clear(self) -> None:
        self._file.truncate(0)
        self._length = 0

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class DecodedInfo:
    """What the uploaded file was."""

    sample_rate_hz: int
    num_frames: int
    num_channels: int
    peak: float
    """Largest magnitude at 16 kHz, mono."""

    notes: tuple[str, ...] = ()
    """Sentences for the user: what was not as it should be."""


def decode(
    file: BinaryIO, into: Scratch, rate_hz: int, max_seconds: float, check: Callable[[], None] = lambda: None
) -> DecodedInfo:
    """Decodes, mixes down to mono and resamples to `rate_hz`, block by block; `check` is called before each.

    Channels without sound count for nothing, and of channels that cancel each other the loudest is taken: the file is
    then read twice. Raises UndecodableAudio if it is no audio that can be read or holds none, TooLarge beyond
    `max_seconds`, and what `check` raises.
    """
    if not file.read(1):
        raise UndecodableAudio("audio_file is empty: it has 0 bytes; send a recording")
    levels, info = _decode_once(file, into, rate_hz, max_seconds, check, None)
    if (weights := levels.weights) is None:
        return info
    into.clear()
    cancels = levels.cancels
    _, again = _decode_once(file, into, rate_hz, max_seconds, check, weights)
    if not cancels:
        return again
    channel = 1 + int(weights.argmax())
    note = f"the channels of audio_file cancel each other; only channel {channel} of {len(weights)} was taken"
    return replace(again, notes=(*again.notes, note))


def _decode_once(
    file: BinaryIO,
    into: Scratch,
    rate_hz: int,
    max_seconds: float,
    check: Callable[[], None],
    weights: NDArray[np.float32] | None,
) -> tuple[ChannelLevels, DecodedInfo]:
    """`weights`: what to take of each channel, None: their mean."""
    file.seek(0)
    with open_sound(file) as sound:
        levels = ChannelLevels(sound.num_channels)
        resampler = StreamResampler(sound.sample_rate_hz, rate_hz)
        num_frames, peak = 0, 0.0
        for block in chain(sound.blocks, (np.zeros((0, sound.num_channels), np.float32),)):
            check()
            num_frames += len(block)
            if num_frames > max_seconds * sound.sample_rate_hz:
                raise TooLarge(f"audio_file is longer than the limit of {max_seconds:.0f} s; send it in parts")
            mono = block.mean(axis=1, dtype=np.float32) if weights is None else block @ weights
            levels.feed(block, mono)
            resampled = resampler.feed(mono, last=len(block) == 0)
            _check_finite(mono, resampled)
            peak = max(peak, float(np.abs(resampled).max(initial=0.0)))
            into.append(resampled)
    if num_frames == 0:
        raise UndecodableAudio("audio_file holds no audio: it has 0 samples")
    if len(into) == 0:
        into.append(np.zeros(1, np.float32))  # a recording of less than one sample at the new rate
    notes = (_damage(sound.num_damaged),) if sound.num_damaged else ()
    return levels, DecodedInfo(sound.sample_rate_hz, num_frames, sound.num_channels, peak, notes)


def _check_finite(*signals: NDArray[np.float32]) -> None:
    if not all(np.isfinite(signal).all() for signal in signals):
        raise UndecodableAudio("audio_file holds samples that are not numbers (NaN or infinite) or far too large")


def _damage(num_damaged: int) -> str:
    return f"audio_file is damaged: {num_damaged} of its pieces could not be decoded and were left out"


def check_output(output_format: str, sample_rate_hz: int) -> OutputFormat:
    """The format, if it exists and can hold the rate. Raises InvalidParameter that names what is wrong."""
    if output_format not in OUTPUT_FORMATS:
        raise InvalidParameter(f"output_format: {output_format!r} is not one of {', '.join(OUTPUT_FORMATS)}")
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise InvalidParameter(
            f"output_sample_rate: {sample_rate_hz} is not between {MIN_RATE_HZ} and {MAX_RATE_HZ} Hz"
        )
    if output_format == "mp3" and sample_rate_hz not in MP3_RATES_HZ:
        rates = ", ".join(map(str, MP3_RATES_HZ))
        raise InvalidParameter(f"output_sample_rate: mp3 knows the rates {rates} Hz, not {sample_rate_hz}")
    return output_format


def resolve_output_rate(output_format: OutputFormat, asked_hz: int | None, voice_rate_hz: int) -> int:
    """The rate that was asked for, else the voice's; for mp3, which has no 40 kHz, the next higher one that it knows.

    Raises InvalidParameter when the format cannot hold the rate.
    """
    if asked_hz is not None:
        rate_hz = asked_hz
    elif output_format == "mp3":
        rate_hz = next((rate_hz for rate_hz in MP3_RATES_HZ if rate_hz >= voice_rate_hz), MP3_RATES_HZ[-1])
    else:
        rate_hz = voice_rate_hz
    check_output(output_format, rate_hz)
    return rate_hz


def encode(
    blocks: Iterator[NDArray[np.float32]],
    gain: float,
    to: BinaryIO,
    rate_hz: int,
    fmt: OutputFormat,
    comment: str | None = SYNTHETIC_NOTE,
) -> None:
    """Writes float32 blocks times `gain`: wav and flac as int16, truncated towards zero (SPEC 10 step 8).

    `comment` goes into the file's tags, in every format.
    """
    import soundfile

    subtype = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}[fmt]
    with soundfile.SoundFile(to, "w", rate_hz, 1, subtype, format=fmt.upper()) as sound:
        if comment is not None:
            sound.comment = comment
        for block in blocks:
            scaled = block * np.float32(gain)
            sound.write(to_int16(scaled) if subtype == "PCM_16" else scaled)


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """-1..1 -> int16, truncated towards zero; what is beyond is clipped."""
    return np.clip(samples * INT16_SCALE, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)

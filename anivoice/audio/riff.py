"""The header of a WAV stream: what a client may begin with, and what the answer then begins with."""

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anivoice.errors import InvalidRequest

Encoding = Literal["u8", "s16", "s24", "s32", "f32", "f64"]
Samples = NDArray[np.float32]

SAMPLE_BYTES: dict[Encoding, int] = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}
TAG_PCM, TAG_FLOAT, TAG_EXTENSIBLE = 1, 3, 0xFFFE
ENCODINGS: dict[tuple[int, int], Encoding] = {
    (TAG_PCM, 8): "u8",
    (TAG_PCM, 16): "s16",
    (TAG_PCM, 24): "s24",
    (TAG_PCM, 32): "s32",
    (TAG_FLOAT, 32): "f32",
    (TAG_FLOAT, 64): "f64",
}
RIFF_NAMES = (b"RIFF", b"RF64")
NUM_MAGIC_BYTES = 12
FORMAT_CHUNK_BYTES, EXTENSIBLE_CHUNK_BYTES = 16, 40
MIN_ENDLESS_BYTES = 0x7FFFF000
"""Sizes from here on, and 0, are what programs write when they do not know the length yet."""

INT16, INT16_STEP = np.dtype("<i2"), np.float32(2**-15)
MAX_CHANNELS = 8
MAX_MAGNITUDE = 16.0
"""Floats beyond (24 dB over full scale) are clipped: no sum of squares must overflow."""

MIN_RATE_HZ, MAX_RATE_HZ = 8000, 192000


class IncompleteHeader(InvalidRequest):
    """The header is cut off: more bytes may complete it."""


@dataclass(frozen=True)
class WavFormat:
    """The chunk `fmt `."""

    sample_rate_hz: int
    num_channels: int
    encoding: Encoding


@dataclass(frozen=True)
class WavHeader:
    """All that stands before the audio."""

    format: WavFormat
    data_start: int
    """Where in the message the audio begins."""

    data_bytes: int | None
    """How much audio there is; None if the stream has no end yet."""


def is_wav(message: bytes) -> bool:
    """Whether the message begins as a WAV file does, or one of the kind RF64, which may be longer than 4 GiB."""
    return message[:4] in RIFF_NAMES and message[8:12] == b"WAVE"


def may_become_wav(message: bytes) -> bool:
    """Whether the message is too short to tell, and so far begins as a WAV file does."""
    return 0 < len(message) < NUM_MAGIC_BYTES and any(
        message[:4] == name[: len(message)] and message[8:] == b"WAVE"[: max(len(message) - 8, 0)]
        for name in RIFF_NAMES
    )


def read_wav_header(message: bytes) -> WavHeader:
    """Reads up to the chunk `data`, which must begin within the message; unknown chunks are passed over.

    Raises IncompleteHeader when it is not there yet, InvalidRequest when the header is wrong.
    """
    wav_format: WavFormat | None = None
    at = 12
    while at + 8 <= len(message):
        name, size = struct.unpack_from("<4sI", message, at)
        at += 8
        if name == b"data":
            if wav_format is None:
                raise InvalidRequest("the WAV header has no 'fmt ' chunk before its audio")
            return WavHeader(wav_format, at, size if 0 < size < MIN_ENDLESS_BYTES else None)
        if name == b"fmt ":
            if at + min(size, EXTENSIBLE_CHUNK_BYTES) > len(message):
                break
            wav_format = _read_format(message[at : at + size])
        at += size + size % 2
    raise IncompleteHeader("the WAV header is cut off: it has no 'data' chunk")


def _read_format(chunk: bytes) -> WavFormat:
    if len(chunk) < FORMAT_CHUNK_BYTES:
        raise InvalidRequest(f"the WAV header's 'fmt ' chunk has {len(chunk)} bytes; 16 or more are needed")
    tag, num_channels, rate_hz, _, _, num_bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == TAG_EXTENSIBLE and len(chunk) >= EXTENSIBLE_CHUNK_BYTES:
        tag = struct.unpack_from("<H", chunk, 24)[0]
    encoding = ENCODINGS.get((tag, num_bits))
    if encoding is None:
        raise InvalidRequest(
            f"the WAV header names format {tag} with {num_bits} bits; understood are PCM of 8, 16, 24 or 32 bits and "
            "float of 32 or 64 bits"
        )
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise InvalidRequest(
            f"the WAV header's sample rate is {rate_hz} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} are possible"
        )
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise InvalidRequest(f"the WAV header names {num_channels} channels; 1 to {MAX_CHANNELS} are possible")
    return WavFormat(rate_hz, num_channels, encoding)


def streaming_header(sample_rate_hz: int) -> bytes:
    """The header of mono int16 audio without a known end."""
    form = struct.pack("<HHIIHH", TAG_PCM, 1, sample_rate_hz, 2 * sample_rate_hz, 2, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + b"\xff" * 4
    return b"RIFF" + b"\xff" * 4 + b"WAVE" + chunks


def to_samples(data: bytes, encoding: Encoding) -> Samples:
    """Whole samples of an encoding -> `[n]`, integers scaled to -1..1, floats without NaN and infinities."""
    if encoding == "u8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) * np.float32(2**-7)
    if encoding == "s16":
        samples = np.frombuffer(data, INT16).astype(np.float32)
        samples *= INT16_STEP
        return samples
    if encoding == "s24":
        widened = np.zeros((len(data) // 3, 4), np.uint8)
        widened[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return to_samples(widened.tobytes(), "s32")
    if encoding == "s32":
        return np.frombuffer(data, np.dtype("<i4")).astype(np.float32) * np.float32(2**-31)
    values = np.frombuffer(data, np.dtype("<f4" if encoding == "f32" else "<f8"))
    finite = np.where(np.isfinite(values), values, 0)
    return np.clip(finite, -MAX_MAGNITUDE, MAX_MAGNITUDE).astype(np.float32)

"""Samples to bytes and back, for the formats of the wire that are plain samples."""

import numpy as np
from numpy.typing import NDArray

from anivoice.errors import InvalidParameter

SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4}
INT16_SCALE = 32768


def encode_samples(samples: NDArray[np.generic], wire_format: str) -> bytes:
    """`[L]` or `[L, num_channels]`, float in -1..1 or int16, as the wire wants them. Raises InvalidParameter."""
    if wire_format not in SAMPLE_BYTES:
        raise InvalidParameter(f"format: samples cannot be sent as {wire_format!r}; send bytes, or choose pcm_s16le")
    if samples.dtype == np.int16:
        values = samples if wire_format == "pcm_s16le" else samples.astype(np.float32) / np.float32(INT16_SCALE)
    elif np.issubdtype(samples.dtype, np.floating):
        scaled = np.clip(samples * INT16_SCALE, -INT16_SCALE, INT16_SCALE - 1)
        values = scaled.astype(np.int16) if wire_format == "pcm_s16le" else samples
    else:
        raise InvalidParameter(f"samples of type {samples.dtype} are not understood; give float32 in -1..1, or int16")
    return values.astype("<i2" if wire_format == "pcm_s16le" else "<f4").tobytes()


def decode_samples(data: bytes, wire_format: str) -> NDArray[np.float32]:
    """float32 `[L]` in -1..1. Raises InvalidParameter for formats that are not plain samples."""
    if wire_format not in SAMPLE_BYTES:
        raise InvalidParameter(f"output_format: {wire_format!r} is not plain samples; take the bytes")
    if wire_format == "pcm_s16le":
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(INT16_SCALE)
    return np.frombuffer(data, "<f4").astype(np.float32)

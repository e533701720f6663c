"""Bytes on the wire <-> mono float32 samples. Messages may be of any length; half samples wait for the next one."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.opus import FRAME_SAMPLES, LOOKAHEAD_MS, OPUS_RATE_HZ, OpusDecoder, OpusEncoder
from anivoice.audio.resampler import StreamResampler
from anivoice.audio.riff import SAMPLE_BYTES, Encoding, is_wav, read_wav_header, streaming_header, to_samples
from anivoice.errors import InvalidParameter, InvalidRequest

WireFormat = Literal["pcm_s16le", "pcm_f32le", "wav", "opus"]
WIRE_FORMATS: tuple[WireFormat, ...] = get_args(WireFormat)
INT16_SCALE = np.float32(32768)
INT16_MIN, INT16_MAX = -INT16_SCALE, INT16_SCALE - 1
INT16 = np.dtype("<i2")

Samples = NDArray[np.float32]


class WireDecoder:
    """What a client sends, as mono samples at `sample_rate_hz`.

    If the first message begins with a WAV header, that sets `format` ("wav"), `sample_rate_hz` and `num_channels`; the
    header must be whole. Opus is always 48 kHz, one packet per message.
    """

    def __init__(self, wire_format: WireFormat, sample_rate_hz: int, channels: int = 1) -> None:
        _check_format(wire_format)
        self.format: WireFormat = wire_format
        self.sample_rate_hz = OPUS_RATE_HZ if wire_format == "opus" else sample_rate_hz
        self.num_channels = channels
        self._opus = OpusDecoder() if wire_format == "opus" else None
        self._encoding: Encoding = "f32" if wire_format == "pcm_f32le" else "s16"
        self._is_first = True
        self._waiting = b""
        self._bytes_left: int | None = None

    def feed(self, message: bytes) -> Samples:
        """A message -> the samples that became whole. NaN and infinities become 0. Raises InvalidRequest."""
        if self._is_first and message:
            message = self._begin(message)
        if self._opus is not None:
            return self._opus.feed(message)
        if self._bytes_left is not None:
            message = message[: self._bytes_left]
            self._bytes_left -= len(message)
        data = self._waiting + message
        num_whole = len(data) - len(data) % (SAMPLE_BYTES[self._encoding] * self.num_channels)
        self._waiting = data[num_whole:]
        samples = to_samples(data[:num_whole], self._encoding)
        if self.num_channels == 1:
            return samples
        return np.asarray(samples.reshape(-1, self.num_channels).mean(axis=1, dtype=np.float32))

    def reset(self) -> None:
        """A new stream begins with the next message: half samples are forgotten, a header is understood again."""
        self._is_first = True
        self._waiting = b""
        self._bytes_left = None

    def _begin(self, message: bytes) -> bytes:
        """Reads the header of the first message, if it has one; returns the rest."""
        if not is_wav(message):
            if self.format == "wav":
                raise InvalidRequest("format is wav, but the first message does not begin with a WAV header")
            self._is_first = False
            return message
        header = read_wav_header(message)
        self._is_first = False
        self.format, self._opus = "wav", None
        self.sample_rate_hz = header.format.sample_rate_hz
        self.num_channels = header.format.num_channels
        self._encoding = header.format.encoding
        self._bytes_left = header.data_bytes
        return message[header.data_start :]


class WireEncoder:
    """Mono samples at `sample_rate_hz`, as what a client receives.

    `wav` is int16 behind a header without an end; `opus` is mono at 48 kHz, a packet of 20 ms in each message.
    """

    def __init__(self, wire_format: WireFormat, sample_rate_hz: int) -> None:
        _check_format(wire_format)
        self.format: WireFormat = wire_format
        self.sample_rate_hz = sample_rate_hz
        is_opus = wire_format == "opus"
        self._opus = OpusEncoder() if is_opus else None
        self._to_opus = StreamResampler(sample_rate_hz, OPUS_RATE_HZ if is_opus else sample_rate_hz, low_delay=True)
        self._needs_header = wire_format == "wav"

    @property
    def delay_ms(self) -> float:
        """Bound of how much later samples leave: 0 but for opus."""
        if self._opus is None:
            return 0.0
        return self._to_opus.delay_ms + 1000 * FRAME_SAMPLES / OPUS_RATE_HZ + LOOKAHEAD_MS

    def feed(self, samples: Samples) -> list[bytes]:
        """`[n]` -> messages. What is beyond full scale is clipped where the format is int16."""
        if self._opus is not None:
            return self._opus.feed(self._to_opus.feed(samples))
        if not len(samples):
            return []
        if self.format == "pcm_f32le":
            return [samples.astype(np.dtype("<f4")).tobytes()]
        header = streaming_header(self.sample_rate_hz) if self._needs_header else b""
        self._needs_header = False
        return [header + _to_int16(samples).tobytes()]

    def flush(self) -> list[bytes]:
        """What still waits; then a new signal may begin."""
        if self._opus is None:
            return []
        return self._opus.feed(self._to_opus.flush()) + self._opus.flush()


def _to_int16(samples: Samples) -> NDArray[np.int16]:
    """Rounded and clipped; the inverse of what the decoder does."""
    scaled = samples * INT16_SCALE
    np.rint(scaled, out=scaled)
    return scaled.clip(INT16_MIN, INT16_MAX, out=scaled).astype(INT16)


def _check_format(wire_format: str) -> None:
    if wire_format not in WIRE_FORMATS:
        raise InvalidParameter(f"format: {wire_format!r} is not one of {', '.join(WIRE_FORMATS)}")

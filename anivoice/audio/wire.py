"""Bytes on the wire <-> mono float32 samples. Messages may be of any length; half samples wait for the next one."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.mono import MonoMixer
from anivoice.audio.opus import FRAME_SAMPLES, LOOKAHEAD_MS, OPUS_RATE_HZ, OpusDecoder, OpusEncoder
from anivoice.audio.resampler import StreamResampler
from anivoice.audio.riff import (
    SAMPLE_BYTES,
    Encoding,
    IncompleteHeader,
    is_wav,
    may_become_wav,
    read_wav_header,
    streaming_header,
    to_samples,
)
from anivoice.audio.stream_signatures import container_name
from anivoice.errors import InvalidParameter, InvalidRequest

WireFormat = Literal["pcm_s16le", "pcm_f32le", "wav", "opus"]
WIRE_FORMATS: tuple[WireFormat, ...] = get_args(WireFormat)
INT16_SCALE = np.float32(32768)
INT16_MIN, INT16_MAX = -INT16_SCALE, INT16_SCALE - 1
INT16 = np.dtype("<i2")
MAX_HEADER_BYTES = 2**16
"""Of a WAV header that comes in pieces: pictures before the audio are rarely larger."""

Samples = NDArray[np.float32]
NO_SAMPLES: Samples = np.zeros(0, np.float32)


class WireDecoder:
    """What a client sends, as mono samples at `sample_rate_hz`.

    A message that begins with a WAV header sets `format` ("wav"), `sample_rate_hz` and `num_channels`, the first one as
    any other: recorders send a whole file in each message. A header may come in pieces. Opus is always 48 kHz, one
    packet per message.

    What was refused stays refused: nothing is played until a message begins with a header that can be used.
    """

    def __init__(self, wire_format: WireFormat, sample_rate_hz: int, channels: int = 1) -> None:
        _check_format(wire_format)
        self.format: WireFormat = wire_format
        self.sample_rate_hz = OPUS_RATE_HZ if wire_format == "opus" else sample_rate_hz
        self.num_channels = channels
        self.is_refused = False
        self._opus = OpusDecoder() if wire_format == "opus" else None
        self._encoding: Encoding = "f32" if wire_format == "pcm_f32le" else "s16"
        self._mixer = MonoMixer(channels)
        self._is_first = True
        self._header = b""
        self._waiting = b""
        self._bytes_left: int | None = None

    def feed(self, message: bytes) -> Samples:
        """A message -> the samples that became whole. NaN and infinities become 0.

        Raises InvalidRequest, for a format that cannot be played only once.
        """
        audio = self._without_header(message)
        if self.is_refused:
            return NO_SAMPLES
        if self._opus is not None:
            return self._opus.feed(audio)
        if self._bytes_left is not None:
            audio = audio[: self._bytes_left]
            self._bytes_left -= len(audio)
        data = self._waiting + audio
        num_whole = len(data) - len(data) % (SAMPLE_BYTES[self._encoding] * self.num_channels)
        self._waiting = data[num_whole:]
        return self._mixer.mix(to_samples(data[:num_whole], self._encoding))

    def reset(self) -> None:
        """A new stream begins with the next message: half samples are forgotten."""
        self._is_first = True
        self._header = self._waiting = b""
        self._bytes_left = None

    def _without_header(self, message: bytes) -> bytes:
        """The audio in the message. Raises InvalidRequest."""
        message, self._header = self._header + message, b""
        if not message:
            return message
        try:
            if is_wav(message):
                return self._begin_file(message)
            if self._may_begin_file and may_become_wav(message):
                self._header = message
                return b""
            self._check_first(message)
        except InvalidRequest:
            self.is_refused = True
            raise
        self._is_first = False
        return message

    @property
    def _may_begin_file(self) -> bool:
        """Whether the next bytes can well be those of a header: others are not kept waiting for more."""
        return self._is_first or self.is_refused or self._bytes_left == 0

    def _begin_file(self, message: bytes) -> bytes:
        """Takes the header; returns what is behind it."""
        try:
            header = read_wav_header(message)
        except IncompleteHeader:
            if len(message) > MAX_HEADER_BYTES:
                raise
            self._header = message
            return b""
        self._is_first = self.is_refused = False
        self._waiting = b""
        self.format, self._opus = "wav", None
        self.sample_rate_hz = header.format.sample_rate_hz
        if self.num_channels != header.format.num_channels:
            self.num_channels = header.format.num_channels
            self._mixer = MonoMixer(self.num_channels)
        self._encoding = header.format.encoding
        self._bytes_left = header.data_bytes
        return message[header.data_start :]

    def _check_first(self, message: bytes) -> None:
        """Raises InvalidRequest when the first message is not what its format says."""
        if not self._is_first or self.is_refused:
            return
        container = container_name(message)
        if container is not None:
            raise InvalidRequest(
                f"the audio is {container}, which a stream does not take: send `format` pcm_s16le, pcm_f32le, wav or "
                "opus (bare packets), or the whole recording to POST /convert"
            )
        if self.format == "wav":
            raise InvalidRequest("format is wav, but the first message does not begin with a WAV header")


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

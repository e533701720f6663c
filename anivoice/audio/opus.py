"""Opus packets in and out: mono, 48 kHz, by the library `av` (imported only when a stream wants it)."""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from anivoice.errors import InvalidRequest, MissingAsset

Samples = NDArray[np.float32]

OPUS_RATE_HZ = 48000
FRAME_SAMPLES = 960
LOOKAHEAD_MS = 2.5
"""How much later the encoder's low-delay mode gives the sound back."""

BITS_PER_S = 64000
INT16_SCALE = 32768


class OpusDecoder:
    """Packets of any duration, mono or stereo (mixed down)."""

    def __init__(self) -> None:
        av = _library()
        self._codec = av.CodecContext.create("libopus", "r")
        self._codec.sample_rate = OPUS_RATE_HZ
        self._codec.layout = "mono"
        self._codec.open()

    def feed(self, packet: bytes) -> Samples:
        """One packet -> its samples at 48 kHz. Raises InvalidRequest; the stream may go on with the next packet."""
        av = _library()
        try:
            frames = self._codec.decode(av.Packet(packet)) if packet else []
        except av.FFmpegError as error:
            raise InvalidRequest("a message is not an Opus packet; send one whole packet in each message") from error
        return np.concatenate([np.zeros(0, np.float32), *(_mono(frame.to_ndarray()) for frame in frames)])


class OpusEncoder:
    """Frames of 20 ms at 48 kHz, a packet each."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.float32)
        self._open()

    def _open(self) -> None:
        self._codec = _library().CodecContext.create("libopus", "w")
        self._codec.sample_rate = OPUS_RATE_HZ
        self._codec.layout = "mono"
        self._codec.format = "flt"
        self._codec.bit_rate = BITS_PER_S
        self._codec.options = {"application": "lowdelay", "frame_duration": "20"}
        self._codec.open()
        self._num_encoded = 0

    def feed(self, samples: Samples) -> list[bytes]:
        """`[n]` -> the packets that became whole."""
        waiting = np.concatenate([self._waiting, samples])
        num_whole = len(waiting) // FRAME_SAMPLES * FRAME_SAMPLES
        self._waiting = waiting[num_whole:]
        packets = []
        for start in range(0, num_whole, FRAME_SAMPLES):
            packets += self._encode(waiting[start : start + FRAME_SAMPLES])
        return packets

    def flush(self) -> list[bytes]:
        """The rest, padded with silence to a whole frame; then a new signal may begin."""
        if self._num_encoded == 0 and not len(self._waiting):
            return []
        packets = self.feed(np.zeros(-len(self._waiting) % FRAME_SAMPLES, np.float32))
        packets += [bytes(packet) for packet in self._codec.encode(None)]
        self._open()
        return packets

    def _encode(self, samples: Samples) -> list[bytes]:
        frame = _library().AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = OPUS_RATE_HZ
        frame.pts = self._num_encoded
        self._num_encoded += len(samples)
        return [bytes(packet) for packet in self._codec.encode(frame)]


def _mono(decoded: NDArray[np.int16]) -> Samples:
    """`[1, n]` -> `[n]`"""
    return np.asarray(decoded[0].astype(np.float32) / np.float32(INT16_SCALE))


def _library() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise MissingAsset("format opus needs the package av, which is not installed: pip install av") from error
    return av

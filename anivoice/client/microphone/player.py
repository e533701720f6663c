"""Playing what comes: from the wire's rate to the device's, through the jitter buffer."""

import numpy as np

from anivoice.audio.resampler import StreamResampler
from anivoice.client.microphone.devices import AudioSystem, Device, Samples
from anivoice.client.microphone.jitter_buffer import JitterBuffer
from anivoice.client.microphone.level import PeakLevel
from anivoice.client.microphone.output_clock import OutputClock

WIRE_RATE_HZ = 48000


class Player:
    """An open output with a buffer of its own. Raises Unavailable."""

    def __init__(self, system: AudioSystem, device: Device, block_s: float) -> None:
        self.device = device
        self.level = PeakLevel()
        self.is_audible = True
        self._gain = 1.0
        self._buffer: JitterBuffer | None = None
        self._before = 0.0
        self.port = system.open_output(device, self._give)
        self._clock = OutputClock(self.port.rate_hz)
        self._resampler = StreamResampler(WIRE_RATE_HZ, self.port.rate_hz, low_delay=True)
        self._buffer = JitterBuffer(self.port.rate_hz, block_s)

    def write(self, samples: Samples) -> None:
        """What came, at the wire's rate."""
        self.buffer.write(self._resampler.feed(samples))

    def reset(self, num_received: int) -> None:
        """The stream goes on elsewhere: `num_received` samples, at the wire's rate, came before."""
        self.buffer.reset()
        self._resampler.reset()
        self._before = num_received

    def skip(self, seconds: float) -> None:
        """The server left so much out."""
        self.buffer.skip(round(seconds * self.port.rate_hz))

    @property
    def buffer(self) -> JitterBuffer:
        assert self._buffer is not None
        return self._buffer

    @property
    def position_s(self) -> float:
        """The place in the stream that is played next."""
        return self._before / WIRE_RATE_HZ + self.buffer.position / self.port.rate_hz

    def _give(self, num_samples: int) -> Samples:
        """Called by the device, the first time perhaps before the buffer is made."""
        if self._buffer is None:
            return np.zeros(num_samples, np.float32)
        wanted = 1.0 if self.is_audible else 0.0
        self._buffer.pause(self._clock.pause_before(num_samples))
        samples = self._buffer.read(num_samples)
        if self._gain != wanted or wanted != 1:
            samples *= np.linspace(self._gain, wanted, num_samples, dtype=np.float32)
            self._gain = wanted
        self.level.add(samples)
        return samples

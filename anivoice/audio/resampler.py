"""Band-limited resampling of a signal that comes in pieces."""

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class StreamResampler:
    """Resampling by soxr: what comes out does not depend on how the input is split.

    The output is in time with the input: `n` samples in, `round(n * rate_out_hz / rate_in_hz)` out when all is
    flushed, no delay at the beginning and none left at the end. `delay_ms` is how much later samples come out than
    they go in: when `t + delay_ms` of input has been fed, the output up to `t` is out.

    Files take soxr's high quality (36 ms from 48 to 16 kHz). `low_delay` is for live streams.
    """

    def __init__(self, rate_in_hz: int, rate_out_hz: int, low_delay: bool = False) -> None:
        self.rate_in_hz = rate_in_hz
        self.rate_out_hz = rate_out_hz
        self.low_delay = low_delay
        self._stream = None if rate_in_hz == rate_out_hz else _soxr_stream(rate_in_hz, rate_out_hz, low_delay)

    @property
    def delay_ms(self) -> float:
        """0 if the rates are equal."""
        return _measured_delay_ms(self.rate_in_hz, self.rate_out_hz, self.low_delay)

    def feed(self, samples: Samples, last: bool = False) -> Samples:
        """What can be given out after `samples`; with `last` all the rest, and then a new signal may begin."""
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32), last=last)
        if last:
            self.reset()
        return resampled

    def flush(self) -> Samples:
        """All the rest; a new signal may begin."""
        return self.feed(np.zeros(0, np.float32), last=True)

    def reset(self) -> None:
        """Forget the signal so far."""
        if self._stream is not None:
            self._stream.clear()


def _soxr_stream(rate_in_hz: int, rate_out_hz: int, low_delay: bool) -> Any:
    import soxr

    return soxr.ResampleStream(rate_in_hz, rate_out_hz, 1, dtype="float32", quality="HQ", vr=low_delay)


@cache
def _measured_delay_ms(rate_in_hz: int, rate_out_hz: int, low_delay: bool) -> float:
    """The largest lag seen while a second of silence is fed in pieces of about 1 ms."""
    resampler = StreamResampler(rate_in_hz, rate_out_hz, low_delay)
    piece = np.zeros(math.ceil(rate_in_hz / 1000), np.float32)
    fed = given = 0
    lag_s = 0.0
    for _ in range(1000):
        given += len(resampler.feed(piece))
        fed += len(piece)
        lag_s = max(lag_s, fed / rate_in_hz - given / rate_out_hz)
    return 1000 * lag_s

"""Band-limited resampling of a signal that comes in pieces: one interface, two filters."""

import math
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.polyphase import PolyphaseResampler

Samples = NDArray[np.float32]
PROBES_PER_S, NUM_PROBES = 1000, 500
MAX_REMEMBERED_DELAYS = 256


class StreamResampler:
    """What comes out does not depend, in any bit, on how the input is split.

    The output is in time with the input: `n` samples in, `n * rate_out_hz / rate_in_hz` rounded out when all is
    flushed, no silence at the beginning and nothing missing at the end. Samples of equal rates pass as they are.

    Files take soxr's high quality. It works in large blocks (37 ms from 48 to 16 kHz), so live streams ask for
    `low_delay`: a short filter of our own (3 ms), wherever the ratio is one of reasonable numbers.
    """

    def __init__(self, rate_in_hz: int, rate_out_hz: int, low_delay: bool = False) -> None:
        self.rate_in_hz = rate_in_hz
        self.rate_out_hz = rate_out_hz
        self.low_delay = low_delay
        self._filter = _filter(rate_in_hz, rate_out_hz, low_delay)

    @property
    def delay_ms(self) -> float:
        """How much later samples come out: when `t + delay_ms` of input has been fed, the output up to `t` is out."""
        return self._filter.delay_ms

    def feed(self, samples: Samples, last: bool = False) -> Samples:
        """What can be given out after `samples`; with `last` all the rest, and then a new signal may begin."""
        made = self._filter.feed(samples)
        return np.concatenate([made, self._filter.flush()]) if last else made

    def flush(self) -> Samples:
        """All the rest; then a new signal may begin."""
        return self._filter.flush()

    def reset(self) -> None:
        """Forget the signal so far."""
        self._filter.reset()


class _Filter(Protocol):
    @property
    def delay_ms(self) -> float: ...

    def feed(self, samples: Samples) -> Samples: ...

    def flush(self) -> Samples: ...

    def reset(self) -> None: ...


class _Identity:
    delay_ms = 0.0

    def feed(self, samples: Samples) -> Samples:
        return samples

    def flush(self) -> Samples:
        return np.zeros(0, np.float32)

    def reset(self) -> None:
        """Nothing is kept."""


class _Soxr:
    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        import soxr

        self._rates_hz = rate_in_hz, rate_out_hz
        self._stream = soxr.ResampleStream(rate_in_hz, rate_out_hz, 1, dtype="float32", quality="HQ")

    @property
    def delay_ms(self) -> float:
        return _measured_delay_ms(*self._rates_hz)

    def feed(self, samples: Samples) -> Samples:
        return self._resample(samples, last=False)

    def flush(self) -> Samples:
        rest = self._resample(np.zeros(0, np.float32), last=True)
        self.reset()
        return rest

    def reset(self) -> None:
        self._stream.clear()

    def _resample(self, samples: Samples, last: bool) -> Samples:
        resampled: Samples = self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32), last=last)
        return resampled


def _filter(rate_in_hz: int, rate_out_hz: int, low_delay: bool) -> _Filter:
    if rate_in_hz == rate_out_hz:
        return _Identity()
    if low_delay and PolyphaseResampler.fits(rate_in_hz, rate_out_hz):
        return PolyphaseResampler(rate_in_hz, rate_out_hz)
    return _Soxr(rate_in_hz, rate_out_hz)


@lru_cache(MAX_REMEMBERED_DELAYS)
def _measured_delay_ms(rate_in_hz: int, rate_out_hz: int) -> float:
    """The largest lag seen while silence is fed in small pieces, and one piece more for what lies between."""
    resampler = _Soxr(rate_in_hz, rate_out_hz)
    piece = np.zeros(math.ceil(rate_in_hz / PROBES_PER_S), np.float32)
    num_in = num_out = 0
    lag_s = 0.0
    for _ in range(NUM_PROBES):
        num_in += len(piece)
        num_out += len(resampler.feed(piece))
        lag_s = max(lag_s, num_in / rate_in_hz - num_out / rate_out_hz)
    return 1000 * (lag_s + (len(piece) - 1) / rate_in_hz)

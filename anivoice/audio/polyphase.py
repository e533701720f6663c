"""Resampling with little delay: a polyphase FIR filter, a table of small matrices.

Output sample `n` lies at the input position `n * M / L` (rates reduced to `L / M`) and is the sum of the `2 * half`
input samples around it, weighted by a Kaiser-windowed sinc. It is `half` input samples late, and up to a unit more:
2.8 ms from 48 to 16 kHz.

Outputs are made in units of `P` (up to 1 ms), `G` units to a period of `L` outputs and `M` inputs; short periods are
taken several at a time, up to 0.5 ms. The outputs of a unit share one stretch of `W` input samples; their filters lie
shifted in rows of that width. So every unit is the product of a fixed matrix and its stretch, whatever it is computed
together with: the split of the input cannot change a bit.
"""

import math
from bisect import bisect_right
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

PASS_SHARE, STOP_SHARE = 0.9, 1.05
"""Of half the lower rate: up to the first all passes, beyond the second nothing."""

STOP_DB = 90.0
UNITS_PER_S = 1000
MAX_REPEATED_S = 0.0005
"""Periods taken together: more of them cost less arithmetic, but the first output of a unit waits for the last."""

MAX_TABLE_ENTRIES = 2**18
"""Ratios of large numbers would need a filter for each of thousands of phases."""

MAX_TABLES = 32


class PhaseTable:
    """The filters of one ratio, shared by all streams."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        period_out, period_in = _ratio(rate_in_hz, rate_out_hz)
        num_periods = max(int(MAX_REPEATED_S * rate_out_hz) // period_out, 1)
        self.period_out, self.period_in = num_periods * period_out, num_periods * period_in
        self.half = _half_width(rate_in_hz, rate_out_hz)
        self.unit_samples = _unit_samples(self.period_out, rate_out_hz)
        self.num_units = self.period_out // self.unit_samples
        phase = np.arange(self.period_out)
        whole = phase * self.period_in // self.period_out
        offsets = whole[:: self.unit_samples]
        self.offsets: list[int] = offsets.tolist()
        """`[G]` where in the period each unit's stretch begins."""

        shift = whole - np.repeat(offsets, self.unit_samples)
        self.width = 2 * self.half + int(shift.max())
        distance = (
            np.arange(self.width) - (shift + self.half - 1 + phase * self.period_in / self.period_out - whole)[:, None]
        )
        rows = _kernel(distance, self.half, min(rate_in_hz, rate_out_hz) / rate_in_hz)
        self.rows = rows.reshape(self.num_units, self.unit_samples, self.width)
        """`[G, P, W]`"""

        last_missing_s = (offsets + self.width - self.half) / rate_in_hz
        self.delay_ms = 1000 * float(
            np.max(last_missing_s - np.arange(self.num_units) * self.unit_samples / rate_out_hz)
        )
        """How late a unit's first output is when all but one of its inputs are there; the largest."""


class PolyphaseResampler:
    """One stream. Ask `fits` first: not every ratio has a table."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        self._table = _table(rate_in_hz, rate_out_hz)
        self.reset()

    @property
    def delay_ms(self) -> float:
        """See `StreamResampler.delay_ms`."""
        return self._table.delay_ms

    @staticmethod
    def fits(rate_in_hz: int, rate_out_hz: int) -> bool:
        """Whether the ratio's table is of a reasonable size."""
        period_out, _ = _ratio(rate_in_hz, rate_out_hz)
        return period_out * 2 * _half_width(rate_in_hz, rate_out_hz) <= MAX_TABLE_ENTRIES

    def reset(self) -> None:
        """Silence before the first sample, which is at position 0."""
        self._held = np.zeros(self._table.half - 1, np.float32)
        self._held_start = 0
        self._next_unit = 0
        self._num_in = self._num_out = 0

    def feed(self, samples: Samples) -> Samples:
        """`[n]` -> the outputs that have all their inputs now."""
        self._held = np.concatenate([self._held, samples])
        self._num_in += len(samples)
        first, stop = self._next_unit, self._stop_unit()
        if stop == first:
            return np.zeros(0, np.float32)
        made = self._units(first, stop)
        self._next_unit = stop
        next_start = self._unit_start(stop)
        self._held = self._held[next_start - self._held_start :].copy()
        self._held_start = next_start
        self._num_out += len(made)
        return made

    def flush(self) -> Samples:
        """All outputs that lie within the input; then a new signal may begin."""
        table = self._table
        wanted = (2 * self._num_in * table.period_out + table.period_in) // (2 * table.period_in) - self._num_out
        made = self.feed(np.zeros(table.width + table.period_in, np.float32))[: max(wanted, 0)]
        self.reset()
        return made

    def _unit_start(self, unit: int) -> int:
        """Where the unit's stretch begins, counted from the first sample held at the start."""
        period, within = divmod(unit, self._table.num_units)
        return period * self._table.period_in + self._table.offsets[within]

    def _stop_unit(self) -> int:
        """The first unit whose stretch is not whole yet."""
        room = self._held_start + len(self._held) - self._table.width
        if room < 0:
            return 0
        period, within = divmod(room, self._table.period_in)
        return period * self._table.num_units + bisect_right(self._table.offsets, within)

    def _units(self, first: int, stop: int) -> Samples:
        """The outputs of these units."""
        table = self._table
        num_windows = len(self._held) - table.width + 1
        windows: Samples = np.ndarray((num_windows, table.width), np.float32, self._held, 0, 2 * self._held.strides)
        made = np.empty((stop - first, table.unit_samples), np.float32)
        for unit in range(first, min(first + table.num_units, stop)):
            num = (stop - unit - 1) // table.num_units + 1
            start = self._unit_start(unit) - self._held_start
            chosen = windows[start : start + (num - 1) * table.period_in + 1 : table.period_in]
            np.matvec(table.rows[unit % table.num_units], chosen, out=made[unit - first :: table.num_units])
        return made.reshape(-1)


@lru_cache(MAX_TABLES)
def _table(rate_in_hz: int, rate_out_hz: int) -> PhaseTable:
    return PhaseTable(rate_in_hz, rate_out_hz)


def _ratio(rate_in_hz: int, rate_out_hz: int) -> tuple[int, int]:
    """L and M."""
    divisor = math.gcd(rate_in_hz, rate_out_hz)
    return rate_out_hz // divisor, rate_in_hz // divisor


def _half_width(rate_in_hz: int, rate_out_hz: int) -> int:
    """Input samples on each side of an output, by Kaiser's formula."""
    transition = (STOP_SHARE - PASS_SHARE) * min(rate_in_hz, rate_out_hz) / 2 / rate_in_hz
    return math.ceil((STOP_DB - 7.95) / (2.285 * 2 * math.pi * transition) / 2)


def _unit_samples(period_out: int, rate_out_hz: int) -> int:
    """The largest divisor of the period that is not longer than about 1 ms."""
    longest = max(rate_out_hz // UNITS_PER_S, 1)
    return max(size for size in range(1, min(longest, period_out) + 1) if period_out % size == 0)


def _kernel(distance: NDArray[np.float64], half: int, rate_share: float) -> Samples:
    """Weights at distances from the output's place, in input samples; each row sums to 1."""
    cutoff = (PASS_SHARE + STOP_SHARE) / 2 * rate_share
    beta = 0.1102 * (STOP_DB - 8.7)
    inside = np.sqrt(np.maximum(1 - np.square(distance / half), 0))
    weights = np.where(np.abs(distance) < half, np.sinc(cutoff * distance) * np.i0(beta * inside), 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)

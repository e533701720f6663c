"""Which of several kinds of windows a live stream gets: the shortest that this device computes in time.

Pure bookkeeping; measuring is the caller's. Kinds that have not been measured are judged by those that have.
"""

from collections.abc import Callable, Mapping, Sequence

from anivoice.engine.admission import MAX_KINDS, Admission, BlockCost
from anivoice.engine.batch import LoadKey
from anivoice.frames import WindowLayout

MIN_OBSERVED = 5
"""Blocks after which a kind counts as measured."""

MAX_AGE_S = 600.0
"""A machine that was busy with other things deserves another chance."""

MIN_SLOW_AGE_S = 10.0
"""So soon a kind that was too slow is measured again; twice as late after each time that it still is."""

OPTIMISM = 0.8
"""A guess is made so much lower than it comes out: a needless measurement is better than a needless delay."""

DECODED_FRAME_WORK = 2.5
"""Work of a decoded frame by that of a frame which is context; about so for full-size voices on the CPU."""


class WindowChoice:
    """`find_admission` is asked each time; `clock` in seconds. Belongs to one thread."""

    def __init__(self, find_admission: Callable[[], Admission], clock: Callable[[], float]) -> None:
        self._find_admission = find_admission
        self._clock = clock
        self._measured_s: dict[LoadKey, float] = {}
        self._patience_s: dict[LoadKey, float] = {}
        """For how long a kind counts as too slow."""

    @property
    def _admission(self) -> Admission:
        return self._find_admission()

    def best(self, keys: Sequence[LoadKey], is_live: bool, first_guess: int) -> int:
        """Place of the kind to take, by what is known: the first of `keys` that fits, or the last where none does. When
        nothing at all is known the search begins at `first_guess`.

        What `needs_measuring` is to be measured, and then asked for again: that ends, because every kind is measured
        but once. `is_live`: the stream takes a share of the device; others take what is left over.
        """
        known = {key.layout: cost for key in keys if (cost := self._cost(key)) is not None}
        if not known:
            return min(first_guess, len(keys) - 1)
        costs = (known.get(key.layout) or _guess(key.layout, known) for key in keys)
        places = (
            place
            for place, cost in enumerate(costs)
            if self._deserves_another_try(keys[place]) or self._fits(cost, keys[place].layout, is_live)
        )
        return next(places, len(keys) - 1)

    def needs_measuring(self, key: LoadKey) -> bool:
        """Whether too little is known of that kind, or only what was so some time ago."""
        cost = self._cost(key)
        return cost is None or cost.num_observed < MIN_OBSERVED

    def begin_measuring(self, key: LoadKey, anew: bool = False) -> None:
        """What is observed from now on counts. A kind that was too slow, and then is again, is believed for longer."""
        if anew or self._is_old(key):
            was_slow = self._is_too_slow(key)
            patience_s = min(2 * self._patience_s.get(key, MIN_SLOW_AGE_S), MAX_AGE_S) if was_slow else MIN_SLOW_AGE_S
            self._remember(self._patience_s, key, patience_s)
            self._admission.forget(key)
        self._remember(self._measured_s, key, self._clock())

    def _cost(self, key: LoadKey) -> BlockCost | None:
        return None if self._is_old(key) else self._admission.cost(key)

    def _is_old(self, key: LoadKey) -> bool:
        """Running streams keep what is known of their kind new. What was too slow is the first to be doubted: a short
        spike of load must lock nobody out for long.
        """
        if self._admission.has_streams(key):
            return False
        max_age_s = self._patience_s.get(key, MIN_SLOW_AGE_S) if self._is_too_slow(key) else MAX_AGE_S
        return self._clock() - self._known_since(key) > max_age_s

    def _deserves_another_try(self, key: LoadKey) -> bool:
        """It was too slow, some time ago. What others take, measured in the same spike, is no guess then."""
        return self._is_too_slow(key) and self._is_old(key)

    def _is_too_slow(self, key: LoadKey) -> bool:
        cost = self._admission.cost(key)
        return cost is not None and cost.p99_s > self._admission.max_load * key.layout.block_s

    def _known_since(self, key: LoadKey) -> float:
        if key not in self._measured_s:
            self._remember(self._measured_s, key, self._clock())
        return self._measured_s[key]

    def _remember(self, values: dict[LoadKey, float], key: LoadKey, value: float) -> None:
        """Bounded: the oldest kind goes."""
        if len(values) >= MAX_KINDS and key not in values:
            del values[next(iter(values))]
        values[key] = value

    def _fits(self, cost: BlockCost, layout: WindowLayout, is_live: bool) -> bool:
        is_fast = cost.p99_s <= self._admission.max_load * layout.block_s
        return is_fast and (not is_live or self._admission.fits(cost, layout.block_s))


def _guess(layout: WindowLayout, known: Mapping[WindowLayout, BlockCost]) -> BlockCost:
    """In proportion to the work, by that of the known ones which promises most; less work never costs more."""
    work = _work(layout)
    at_least_s = max((cost.mean_s for other, cost in known.items() if _work(other) <= work), default=0.0)
    mean_s = min(OPTIMISM * work / _work(other) * cost.mean_s for other, cost in known.items())
    p99_s = min(OPTIMISM * work / _work(other) * cost.p99_s for other, cost in known.items())
    return BlockCost(max(mean_s, at_least_s), max(p99_s, at_least_s), 0)


def _work(layout: WindowLayout) -> float:
    return layout.window_frames + DECODED_FRAME_WORK * layout.decode_frames

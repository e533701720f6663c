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

OPTIMISM = 0.8
"""A guess is made so much lower than it comes out: a needless measurement is better than a needless delay."""

DECODED_FRAME_WORK = 2.5
"""Work of a decoded frame by that of a frame which is context; about so for full-size voices on the CPU."""


class WindowChoice:
    """`first_guess` is the place among the kinds where the search begins when nothing at all is known.

    `find_admission` is asked each time; `clock` in seconds. Belongs to one thread.
    """

    def __init__(self, find_admission: Callable[[], Admission], clock: Callable[[], float], first_guess: int) -> None:
        self._find_admission = find_admission
        self._clock = clock
        self._first_guess = first_guess
        self._measured_s: dict[LoadKey, float] = {}

    @property
    def _admission(self) -> Admission:
        return self._find_admission()

    def best(self, keys: Sequence[LoadKey], is_live: bool) -> int:
        """Place of the kind to take, by what is known: the first of `keys` that fits, or the last where none does.

        What `needs_measuring` is to be measured, and then asked for again: that ends, because every kind is measured
        but once. `is_live`: the stream takes a share of the device; others take what is left over.
        """
        known = {key.layout: cost for key in keys if (cost := self._cost(key)) is not None}
        if not known:
            return min(self._first_guess, len(keys) - 1)
        costs = (known.get(key.layout) or _guess(key.layout, known) for key in keys)
        places = (place for place, cost in enumerate(costs) if self._fits(cost, keys[place].layout, is_live))
        return next(places, len(keys) - 1)

    def needs_measuring(self, key: LoadKey) -> bool:
        """Whether too little is known of that kind, or only what was so some time ago."""
        cost = self._cost(key)
        return cost is None or cost.num_observed < MIN_OBSERVED

    def begin_measuring(self, key: LoadKey) -> None:
        """What is observed from now on counts."""
        if self._is_old(key):
            self._admission.forget(key)
        self._measured_s[key] = self._clock()

    def _cost(self, key: LoadKey) -> BlockCost | None:
        return None if self._is_old(key) else self._admission.cost(key)

    def _is_old(self, key: LoadKey) -> bool:
        is_recent = self._clock() - self._known_since(key) <= MAX_AGE_S
        return not (is_recent or self._admission.has_streams(key))

    def _known_since(self, key: LoadKey) -> float:
        if len(self._measured_s) >= MAX_KINDS and key not in self._measured_s:
            del self._measured_s[next(iter(self._measured_s))]
        return self._measured_s.setdefault(key, self._clock())

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

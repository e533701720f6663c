"""What a live block costs on this device, and whether one more stream still fits. Pure bookkeeping, any thread."""

import threading
from collections import Counter, deque
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from anivoice.errors import Unavailable

SMOOTHING = 0.1
NUM_REMEMBERED = 500
MAX_KINDS = 256
MAX_LOAD = 0.85
RETRY_AFTER_S = 15.0


class _Cost:
    """Of blocks of one kind: seconds of the device per block, how long one takes by itself, and how long each took from
    its start to its end.
    """

    def __init__(self) -> None:
        self.mean_s = 0.0
        self.alone_s = 0.0
        self.num_observed = 0
        self.recent_s: deque[float] = deque(maxlen=NUM_REMEMBERED)


class BlockCost(NamedTuple):
    """Of the blocks of one kind, in seconds."""

    mean_s: float
    p99_s: float
    num_observed: int


class Admission:
    """The load of all streams that were let in: the share of the device's time that they take.

    Streams are known by `key`, what their blocks cost by measurement (`observe`). A kind that has not been
    measured yet counts as much as the costliest one known: warm it up first.
    """

    def __init__(self, max_load: float = MAX_LOAD) -> None:
        self.max_load = max_load
        self._costs: dict[Hashable, _Cost] = {}
        self._streams: Counter[tuple[float, Hashable]] = Counter()
        self._lock = threading.Lock()

    def observe(
        self,
        key: Hashable,
        cost_s: float,
        elapsed_s: float | None = None,
        alone_s: float | None = None,
        begins: bool = False,
    ) -> None:
        """A block took `cost_s` of the device (its share of a batch), and `elapsed_s` to compute (the whole batch).

        `alone_s`: what it would by itself, where that is more than its cost: the device works on several at a time.
        `begins`: it is a stream's first, which costs more than all others. How long it took is remembered, for what is
        promised must hold for it, too; the cost is that of the others, once one is known.
        """
        with self._lock:
            cost = self._cost_of(key)
            cost.recent_s.append(cost_s if elapsed_s is None else elapsed_s)
            if begins and cost.num_observed > 0:
                return
            cost.num_observed += 1
            weight = max(SMOOTHING, 1 / cost.num_observed)
            cost.mean_s += weight * (cost_s - cost.mean_s)
            cost.alone_s += weight * ((cost_s if alone_s is None else alone_s) - cost.alone_s)

    def cost_s(self, key: Hashable) -> float | None:
        """Smoothed mean of a block's cost; None if none has been computed yet."""
        with self._lock:
            return self._costs[key].mean_s if key in self._costs else None

    def p99_s(self, key: Hashable) -> float | None:
        """99th percentile of how long a block took lately; None if none has been computed yet."""
        with self._lock:
            return float(np.percentile(self._costs[key].recent_s, 99)) if key in self._costs else None

    def cost(self, key: Hashable) -> BlockCost | None:
        """Both, and of how many blocks; None if none has been computed yet."""
        with self._lock:
            if key not in self._costs:
                return None
            cost = self._costs[key]
            return BlockCost(cost.mean_s, float(np.percentile(cost.recent_s, 99)), cost.num_observed)

    def forget(self, key: Hashable) -> None:
        """What blocks of that kind cost is to be found out anew."""
        with self._lock:
            self._costs.pop(key, None)

    def has_streams(self, key: Hashable) -> bool:
        """Whether streams of that kind have been let in: then what they cost is always new."""
        with self._lock:
            return self._is_running(key)

    def fits(self, cost: BlockCost, block_s: float) -> bool:
        """Whether one more stream with blocks of `block_s` that cost this would be let in."""
        return self.load + cost.mean_s / block_s <= self.max_load

    @property
    def load(self) -> float:
        """Share of the device's time that the streams let in need; 1 is all of it."""
        with self._lock:
            return self._load()

    @property
    def num_streams(self) -> int:
        with self._lock:
            return self._streams.total()

    def admit(self, block_s: float, key: Hashable) -> Unavailable | None:
        """None: the stream is in, until `release`. Otherwise why it would not fit."""
        with self._lock:
            cost_s = self._cost_s(key)
            alone_s = self._costs[key].alone_s if key in self._costs else cost_s
            if alone_s / block_s > self.max_load and not self._is_running(key):
                return Unavailable(
                    f"this machine needs {1000 * alone_s:.0f} ms for a block of {1000 * block_s:.0f} ms: "
                    "choose a preset with longer blocks, or a shorter context"
                )
            if self._load() + cost_s / block_s > self.max_load:
                num_streams = self._streams.total()
                return Unavailable(
                    f"this machine is busy with {num_streams} streams: try again later", retry_after_s=RETRY_AFTER_S
                )
            self._streams[block_s, key] += 1
            return None

    def release(self, block_s: float, key: Hashable) -> None:
        """The stream that was let in with these is over. Raises ValueError if there is none."""
        with self._lock:
            if self._streams[block_s, key] == 0:
                raise ValueError("no such stream was let in")
            self._streams[block_s, key] -= 1
            self._streams += Counter()

    def _cost_of(self, key: Hashable) -> _Cost:
        """A new one takes the place of the oldest that no stream needs."""
        if key not in self._costs and len(self._costs) >= MAX_KINDS:
            needed = {kind for _, kind in self._streams}
            oldest = next((kind for kind in self._costs if kind not in needed), None)
            self._costs.pop(oldest, None)
        return self._costs.setdefault(key, _Cost())

    def _is_running(self, key: Hashable) -> bool:
        """Then it was fast enough for one of that kind, and may be again."""
        return any(kind == key for _, kind in self._streams)

    def _load(self) -> float:
        return sum(count * self._cost_s(key) / block_s for (block_s, key), count in self._streams.items())

    def _cost_s(self, key: Hashable) -> float:
        if key in self._costs:
            return self._costs[key].mean_s
        return max((cost.mean_s for cost in self._costs.values()), default=0.0)

"""Every counter and histogram, and the reading of what other parts hold. One registry for each server, no globals."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
CONVERSION_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
REAL_TIME_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4, 8)
BLOCK_SECONDS = (0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2, 5)
LAG_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
TYPICAL_SHARE = 0.99
MAX_RECENT_BLOCKS = 1024

Outcome = Literal["done", "failed", "cancelled"]
BlockOutcome = Literal["converted", "passed", "dropped", "late", "failed"]
"""passed: nothing was to be computed (silence, mute, passthrough)."""

Reading = tuple[Literal["gauge", "counter"], str, str, Callable[[], float]]
"""Kind, name without the prefix, help text, and how to read the present value (from any thread)."""


class Metrics:
    """What is counted as it happens. `watch` adds values that are read when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests = Counter(
            "anivoice_http_requests", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "anivoice_http_request_seconds",
            "Time from a request's header to the end of its answer.",
            ("route",),
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self.conversions = Counter(
            "anivoice_conversions", "File conversions, by how they ended.", ("outcome",), registry=self.registry
        )
        for outcome in ("done", "failed", "cancelled"):
            self.conversions.labels(outcome)
        self.audio_seconds_in = Counter(
            "anivoice_audio_seconds_in", "Seconds of audio that were converted.", registry=self.registry
        )
        self.audio_seconds_out = Counter(
            "anivoice_audio_seconds_out", "Seconds of audio that came out.", registry=self.registry
        )
        self.conversion_seconds = Histogram(
            "anivoice_conversion_seconds",
            "Time of a file conversion, without upload and waiting.",
            buckets=CONVERSION_SECONDS,
            registry=self.registry,
        )
        self.real_time_factor = Histogram(
            "anivoice_real_time_factor",
            "Time of a file conversion over the length of its audio.",
            buckets=REAL_TIME_FACTORS,
            registry=self.registry,
        )
        self.live_blocks: dict[BlockOutcome, int] = dict.fromkeys(get_args(BlockOutcome), 0)
        self.block_compute_seconds = LiveTimes(
            "anivoice_block_compute_seconds", "Time of a live block in the engine, its queue included."
        )
        self.block_delay_seconds = LiveTimes(
            "anivoice_block_delay_seconds",
            "Time from the arrival of a live block's last byte to the sending of its result.",
        )
        self.registry.register(_LiveBlocks(self))
        self.loop_lag_seconds = Histogram(
            "anivoice_event_loop_lag_seconds",
            "How much later than asked for the event loop wakes.",
            buckets=LAG_SECONDS,
            registry=self.registry,
        )

        self._recent_block_seconds: deque[float] = deque(maxlen=MAX_RECENT_BLOCKS)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the pattern, never the path that a client made up."""
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def count_conversion(self, input_seconds: float, output_seconds: float, took_seconds: float) -> None:
        """A conversion succeeded."""
        self.conversions.labels("done").inc()
        self.audio_seconds_in.inc(input_seconds)
        self.audio_seconds_out.inc(output_seconds)
        self.conversion_seconds.observe(took_seconds)
        if input_seconds > 0:
            self.real_time_factor.observe(took_seconds / input_seconds)

    def count_block(self, outcome: BlockOutcome) -> None:
        """What became of a block of a stream."""
        self.live_blocks[outcome] += 1

    def count_block_time(self, seconds: float, is_live: bool) -> None:
        """A block of a stream was computed; those of reliable streams say nothing about how long live ones take."""
        self.block_compute_seconds.observe(seconds)
        if is_live:
            self._recent_block_seconds.append(seconds)

    def typical_block_seconds(self) -> float | None:
        """What nearly all of the last live blocks took at most, in the engine with its queue; None without any."""
        recent = sorted(self._recent_block_seconds)
        return recent[int(TYPICAL_SHARE * (len(recent) - 1))] if recent else None

    def watch(self, *readings: Reading) -> None:
        """Also report these values."""
        self.registry.register(_Readings(readings))

    def text(self) -> bytes:
        """Everything in Prometheus' text format. Takes a few milliseconds: not for the event loop."""
        return generate_latest(self.registry)


class LiveTimes:
    """A histogram of times in seconds that costs next to nothing: live blocks come by the thousand in a second.

    One thread observes; what another reads meanwhile may lack the last block.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._counts = [0] * (len(BLOCK_SECONDS) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BLOCK_SECONDS, seconds)] += 1
        self._sum_s += seconds

    def family(self) -> HistogramMetricFamily:
        """As Prometheus has it: each bucket counts all that is not longer than its bound."""
        bounds = [*map(str, BLOCK_SECONDS), "+Inf"]
        return HistogramMetricFamily(
            self._name, self._text, list(zip(bounds, accumulate(self._counts), strict=True)), self._sum_s
        )


class _LiveBlocks(Collector):
    """What became of live blocks, and how long they took."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        blocks = CounterMetricFamily(
            "anivoice_live_blocks", "Blocks of live streams, by what became of them.", labels=("outcome",)
        )
        for outcome, number in self._metrics.live_blocks.items():
            blocks.add_metric((outcome,), number)
        yield blocks
        yield self._metrics.block_compute_seconds.family()
        yield self._metrics.block_delay_seconds.family()


class _Readings(Collector):
    """Values that are read at the time of the report."""

    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        for kind, name, text, _ in self._readings:
            yield _family(kind)(f"anivoice_{name}", text)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        for kind, name, text, read in self._readings:
            yield _family(kind)(f"anivoice_{name}", text, value=read())


def _family(kind: Literal["gauge", "counter"]) -> type[GaugeMetricFamily] | type[CounterMetricFamily]:
    return GaugeMetricFamily if kind == "gauge" else CounterMetricFamily

"""Sending as if it were spoken just now, and how old what comes back is then."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from anivoice.client.stream_client import Event, Mark, StreamClient


async def at_their_time(num_samples: int, message_samples: int, rate_hz: int, started_s: float) -> AsyncIterator[slice]:
    """Gives each message's samples when the last of them has been spoken. `started_s`: of `time.perf_counter`."""
    for start in range(0, num_samples, message_samples):
        stop = min(start + message_samples, num_samples)
        await asyncio.sleep(max(started_s + stop / rate_hz - time.perf_counter(), 0))
        yield slice(start, stop)


class DelayMeter:
    """The delay of every message that comes: the age of its first sample, which is the oldest.

    Nothing is put before the first output sample, so sample n of the output says what sample n of the input said,
    and blocks that were dropped move it: of these the server tells between the audio before and behind the gap.
    `note` is the stream's `on_event`; the stream must keep its marks.
    """

    def __init__(self) -> None:
        self.stats: Event = {}
        self.num_dropped_blocks = 0
        self._drops: list[tuple[int, int]] = []
        self._stream: StreamClient | None = None

    def watch(self, stream: StreamClient) -> None:
        self._stream = stream

    def note(self, event: Event) -> None:
        """Keeps the latest `stats`, and where in the output blocks are missing."""
        match event.get("event"):
            case "stats":
                self.stats = event
            case "overrun" if self._stream is not None:
                self.num_dropped_blocks = int(str(event["dropped_blocks"]))
                self._drops.append((self._stream.num_received_bytes, self.num_dropped_blocks))

    def delays_ms(self, started_s: float, until_s: float, sample_bytes: int, block_ms: float) -> NDArray[np.float64]:
        """Of the messages that came before `until_s` (afterwards a flush brings them early). `[num_messages]`."""
        stream = self._stream
        if stream is None:
            return np.zeros(0)
        marks = [mark for mark in stream.received if mark.time_s <= until_s]
        bytes_per_s = sample_bytes * stream.output_rate_hz
        places, counts = [place for place, _ in self._drops], [0, *(count for _, count in self._drops)]
        missing = _missing_blocks(marks, places, counts)
        spoken_s = np.array([mark.start_byte / bytes_per_s for mark in marks]) + missing * block_ms / 1000
        return 1000 * (np.array([mark.time_s for mark in marks]) - started_s - spoken_s)


def _missing_blocks(marks: Iterable[Mark], places: Sequence[int], counts: Sequence[int]) -> NDArray[np.float64]:
    """How many blocks are missing before each message."""
    found = np.searchsorted(np.array(places, np.int64), [mark.start_byte for mark in marks], side="right")
    return np.array(counts, np.float64)[found]


def percentiles(values: NDArray[np.float64] | Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest; empty where there is nothing."""
    if len(values) == 0:
        return {}
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(np.max(values))}

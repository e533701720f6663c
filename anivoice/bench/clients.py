"""`python -m anivoice.bench.clients`: the clients of a load test, in a process of their own.

Takes a LoadPlan as JSON on standard input; says SETTLED on standard output when what comes begins to count, ENDED when
the first session has said all, and then the figures as JSON.
"""

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anivoice.client.pacing import DelayMeter, at_their_time, percentiles
from anivoice.client.stream_client import StreamClient
from anivoice.errors import AnivoiceError
from anivoice.server.event_loop import loop_factory
from anivoice.stages.background import step_back

SETTLED, ENDED = "settled", "ended"
SAMPLE_BYTES = 2
LAG_SECONDS = 0.02
MAX_CONNECTING = 8
MAX_SHOWN_ERRORS = 5

Figures = dict[str, object]


@dataclass(frozen=True)
class LoadPlan:
    """`sessions`: the parameters of each. What comes in the first `settling_s` does not count."""

    base_url: str
    sessions: list[dict[str, object]]
    audio_path: str
    rate_hz: int
    seconds: float
    settling_s: float
    message_ms: float


@dataclass
class Load:
    """What the sessions of a plan showed."""

    delays_ms: list[NDArray[np.float64]] = field(default_factory=list)
    promised_ms: dict[str, float] = field(default_factory=dict)
    excess_ms: list[NDArray[np.float64]] = field(default_factory=list)
    presets: Counter[str] = field(default_factory=Counter)
    lags_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    num_connected: int = 0
    num_ended: int = 0
    num_dropped_blocks: int = 0
    num_samples_missing: int = 0

    def note_end(self) -> None:
        """A session has said all: from the first one on the load is not what it was."""
        self.num_ended += 1
        if self.num_ended == 1:
            print(ENDED, flush=True)

    def figures(self) -> Figures:
        """As the JSON has them. `excess_ms`: delay beyond the promised one, of all messages of all sessions. `presets`:
        how many sessions run with which.
        """
        delays, excess = (np.concatenate([*parts, np.zeros(0)]) for parts in (self.delays_ms, self.excess_ms))
        p99s = [float(np.percentile(one, 99)) for one in self.delays_ms if len(one)]
        return {
            "connected": self.num_connected,
            "messages": len(delays),
            "delay_ms": percentiles(delays),
            "promised_ms": self.promised_ms,
            "excess_ms": percentiles(excess),
            "presets": dict(self.presets),
            "worst_session_p99_ms": max(p99s, default=0.0),
            "dropped_blocks": self.num_dropped_blocks,
            "samples_missing": self.num_samples_missing,
            "client_lag_ms": percentiles(self.lags_ms),
            "failed": len(self.errors),
            "errors": sorted(set(self.errors))[:MAX_SHOWN_ERRORS],
        }


async def run_load(plan: LoadPlan) -> Load:
    """Connects all, then lets them speak for `plan.seconds`, each beginning at another moment within a block."""
    samples = np.load(plan.audio_path)
    load, connecting = Load(), asyncio.Semaphore(MAX_CONNECTING)
    ready = asyncio.Barrier(len(plan.sessions) + 1)
    clients = [
        asyncio.create_task(_Client(plan, load, number, samples).run(connecting, ready))
        for number in range(len(plan.sessions))
    ]
    await ready.wait()
    gc.disable()  # it would hold up all speakers at once, and then have them speak at once
    watching = asyncio.create_task(_watch_loop(load, plan.settling_s))
    await asyncio.gather(*clients)
    watching.cancel()
    return load


class _Client:
    """One session of the plan."""

    def __init__(self, plan: LoadPlan, load: Load, number: int, samples: NDArray[np.int16]) -> None:
        self._plan = plan
        self._load = load
        self._number = number
        self._samples = samples
        self._meter = DelayMeter()

    async def run(self, connecting: asyncio.Semaphore, ready: asyncio.Barrier) -> None:
        is_ready = False
        try:
            async with connecting:
                connection = StreamClient.connect(
                    self._plan.base_url,
                    self._plan.sessions[self._number],
                    on_event=self._meter.note,
                    keep_marks=True,
                    keep_audio=False,
                )
                stream = await connection.__aenter__()
            try:
                self._load.num_connected += 1
                self._load.promised_ms = stream.latency_ms
                self._load.presets[str((stream.ready or {}).get("preset"))] += 1
                self._meter.watch(stream)
                is_ready = True
                await ready.wait()
                await self._speak(stream)
            finally:
                await connection.__aexit__(None, None, None)
        except AnivoiceError as error:
            self._load.errors.append(str(error))
            if not is_ready:
                await ready.wait()

    async def _speak(self, stream: StreamClient) -> None:
        block_ms = stream.latency_ms.get("block", 0.0)
        await asyncio.sleep(self._number / len(self._plan.sessions) * block_ms / 1000)
        started_s = time.perf_counter()
        for_s = self._plan.settling_s + self._plan.seconds
        num_samples = round(for_s * self._plan.rate_hz)
        message_samples = round(self._plan.message_ms * self._plan.rate_hz / 1000)
        at = self._number * self._plan.rate_hz
        async for part in at_their_time(num_samples, message_samples, self._plan.rate_hz, started_s):
            await stream.send(self._spoken(at + part.start, part.stop - part.start))
        sent_s = time.perf_counter()
        self._load.note_end()
        await stream.flush()
        self._note(stream, started_s, sent_s, block_ms)

    def _spoken(self, at: int, num_samples: int) -> bytes:
        """From the recording, which goes on for ever."""
        size = len(self._samples)
        if at % size + num_samples <= size:
            return self._samples[at % size : at % size + num_samples].tobytes()
        return self._samples.take(np.arange(at, at + num_samples), mode="wrap").tobytes()

    def _note(self, stream: StreamClient, started_s: float, sent_s: float, block_ms: float) -> None:
        delays_ms = self._meter.delays_ms(started_s, sent_s, SAMPLE_BYTES, block_ms)
        times_s = np.array([mark.time_s for mark in stream.received])[: len(delays_ms)]
        settled_ms = delays_ms[times_s - started_s >= self._plan.settling_s]
        self._load.delays_ms.append(settled_ms)
        self._load.excess_ms.append(settled_ms - stream.latency_ms.get("total", 0.0))
        self._load.num_dropped_blocks += self._meter.num_dropped_blocks
        self._load.num_samples_missing += (stream.num_sent_bytes - stream.num_received_bytes) // SAMPLE_BYTES


async def _watch_loop(load: Load, settling_s: float) -> None:
    """How late this process's own event loop is: what it adds to the delays."""
    await asyncio.sleep(settling_s)
    print(SETTLED, flush=True)
    while True:
        due_s = time.perf_counter() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        load.lags_ms.append(1000 * max(time.perf_counter() - due_s, 0.0))


def main() -> None:
    """Reads the plan, runs it, writes the figures.

    In the field clients are other machines: these leave the cores to the server where both want them.
    """
    step_back()
    plan = LoadPlan(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        sys.stdout.write(json.dumps(runner.run(run_load(plan)).figures()) + "\n")


if __name__ == "__main__":
    main()

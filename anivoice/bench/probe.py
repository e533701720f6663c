"""What a load test reads inside the server: times by stage, the loop's lag, memory, what became of the blocks."""

import asyncio
import time
from collections import defaultdict

import numpy as np
import psutil
import torch

from anivoice.client.pacing import percentiles
from anivoice.engine.admission import Admission
from anivoice.engine.engine import Engine
from anivoice.metrics import LiveTimes, Metrics
from anivoice.server.state import AppState

LAG_SECONDS = 0.01
MEMORY_TICKS = 50
MAX_KEPT = 2**20
NOT_STAGES = ("waiting", "cancelled", "failed")


class StageTimes(defaultdict[str, float]):
    """In place of `Engine.stage_s`: also keeps what each batch took in each stage, until it ended with "result"."""

    def __init__(self) -> None:
        super().__init__(float)
        self.batches: list[dict[str, float]] = []
        self._running: defaultdict[str, float] = defaultdict(float)
        super().__setitem__("result", 0.0)  # or reading it for the first time would set it, and end a batch

    def __setitem__(self, stage: str, total_s: float) -> None:
        self._running[stage] += total_s - self.get(stage, 0.0)
        super().__setitem__(stage, total_s)
        if stage == "result" and len(self.batches) < MAX_KEPT:
            self.batches.append(dict(self._running))
            self._running.clear()

    def figures(self) -> dict[str, dict[str, float]]:
        """Milliseconds by stage, the costliest first."""
        names = {name for batch in self.batches for name in batch if name not in NOT_STAGES}
        times = {name: percentiles([1000 * batch.get(name, 0.0) for batch in self.batches]) for name in names}
        return dict(sorted(times.items(), key=lambda item: -item[1]["p50"]))


class RecordingTimes(LiveTimes):
    """Also keeps the values themselves."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.values: list[float] = []

    def observe(self, seconds: float) -> None:
        super().observe(seconds)
        if len(self.values) < MAX_KEPT:
            self.values.append(seconds)


class RecordingAdmission(Admission):
    """Also keeps how long each batch took; lets everybody in if told to."""

    def __init__(self, max_load: float) -> None:
        super().__init__(max_load)
        self.batches_s: list[float] = []

    def observe(
        self,
        key: object,
        cost_s: float,
        elapsed_s: float | None = None,
        alone_s: float | None = None,
        begins: bool = False,
    ) -> None:
        super().observe(key, cost_s, elapsed_s, alone_s, begins)
        if len(self.batches_s) < MAX_KEPT:
            self.batches_s.append(cost_s if elapsed_s is None else elapsed_s)


class Probe:
    """Attached to an engine and a server before they start."""

    def __init__(self, engine: Engine, state: AppState, max_load: float | None = None) -> None:
        self._metrics: Metrics = state.metrics
        self._engine = engine
        self.stages = StageTimes()
        self.admission = RecordingAdmission(engine.admission.max_load if max_load is None else max_load)
        engine.stage_s, engine.admission = self.stages, self.admission
        self.block_s = self._metrics.block_delay_seconds = RecordingTimes("block_delay", "recorded")
        self.engine_s = self._metrics.block_compute_seconds = RecordingTimes("block_compute", "recorded")
        self.lags_s: list[float] = []
        self.peak_memory_mb = 0.0
        self._counts_before: dict[str, int] = {}
        self._batches_before: dict[int, int] = {}
        self._cpu_before_s, self._wall_before_s = 0.0, 0.0

    async def watch_loop(self) -> None:
        """Until cancelled; run it on the server's event loop."""
        process = psutil.Process()
        while True:
            due_s = time.perf_counter() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self.lags_s.append(max(time.perf_counter() - due_s, 0.0))
            if len(self.lags_s) % MEMORY_TICKS == 1:
                self.peak_memory_mb = max(self.peak_memory_mb, process.memory_info().rss / 2**20)

    def reset(self) -> None:
        """Forgets what it has kept."""
        for values in (self.stages.batches, self.admission.batches_s, self.block_s.values, self.engine_s.values):
            values.clear()
        self.lags_s.clear()
        self.peak_memory_mb = 0.0
        self._cpu_before_s, self._wall_before_s = time.process_time(), time.perf_counter()
        self._counts_before = self._counts()
        self._batches_before = dict(self._engine.live_batch_sizes)

    def figures(self) -> dict[str, object]:
        """Since the last `reset`, times in ms.

        `server_block_ms`: from the arrival of a block's last byte to its sending. `engine_ms`: in the engine, with its
        queue. `batch_ms`: the computing of a batch.
        """
        cpu_s, wall_s = time.process_time() - self._cpu_before_s, time.perf_counter() - self._wall_before_s
        counts = {name: n - self._counts_before.get(name, 0) for name, n in self._counts().items()}
        return {
            "stages_ms": self.stages.figures(),
            "batch_ms": _percentiles_ms(self.admission.batches_s),
            "engine_ms": _percentiles_ms(self.engine_s.values),
            "server_block_ms": _percentiles_ms(self.block_s.values),
            "loop_lag_ms": _percentiles_ms(self.lags_s),
            "blocks": counts,
            "cpu_ms_per_block": 1000 * cpu_s / max(sum(counts.values()), 1),
            "cores_used": cpu_s / wall_s,
            "mean_batch": self._mean_batch(),
            "host_memory_mb": self.peak_memory_mb,
            "device_memory_mb": device_memory_mb(),
        }

    def _counts(self) -> dict[str, int]:
        return dict(self._metrics.live_blocks.items())

    def _mean_batch(self) -> float:
        before = self._batches_before
        sizes = {size: count - before.get(size, 0) for size, count in self._engine.live_batch_sizes.items()}
        return sum(size * count for size, count in sizes.items()) / max(sum(sizes.values()), 1)


def device_memory_mb() -> float | None:
    """Most that was allocated on the accelerator; None without one."""
    return torch.accelerator.max_memory_allocated() / 2**20 if torch.accelerator.is_available() else None


def _percentiles_ms(seconds: list[float]) -> dict[str, float]:
    return percentiles(1000 * np.array(seconds))

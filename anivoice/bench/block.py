"""`anivoice bench block`: what a block of one live stream costs by stage, beside computing its whole window plainly."""

import itertools
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from anivoice.bench.load import machine
from anivoice.bench.plain_window import PlainResult, plain_window_steps
from anivoice.bench.synthetic import synthetic_rmvpe_state, synthetic_speech
from anivoice.bench.synthetic_runtime import synthetic_runtime
from anivoice.config import Settings
from anivoice.engine.batch import Stage, WindowRequest, WindowResult
from anivoice.engine.runtime import Runtime
from anivoice.errors import InvalidParameter
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source, Step
from anivoice.models.rmvpe import Rmvpe, load_rmvpe

RATE_HZ = 16000
SEED = 1
SPEECH_SECONDS = 10.0
T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """Seconds of a block by the clock, and of the process on all cores, by stage."""

    wall_s: dict[str, float]
    cpu_s: dict[str, float]


@dataclass
class Pairs:
    """One entry for each block."""

    ours: list[Cost] = field(default_factory=list)
    plain: list[Cost] = field(default_factory=list)
    differences_db: list[float] = field(default_factory=list)


def run_bench_block(
    settings: Settings,
    layout: str,
    parameters: StreamParameters,
    num_blocks: int,
    with_baseline: bool,
    json_path: Path | None,
) -> int:
    """Measures, prints a table, writes JSON. Raises InvalidParameter for what makes no sense."""
    if num_blocks < 1:
        raise InvalidParameter("--blocks must be at least 1")
    runtime = synthetic_runtime(settings, layout, 1)
    if with_baseline and (runtime.runner.device.type != "cpu" or runtime.runner.dtype != torch.float32):
        raise InvalidParameter("the yardstick is that of the CPU in float32: add --no-baseline for this device")
    runtime.runner.open()
    stream = _stream(runtime, parameters)
    pairs = _measure(runtime, stream, load_rmvpe(synthetic_rmvpe_state()) if with_baseline else None, num_blocks)
    report = _report(pairs, stream) | {"benchmark": "block", "synthetic": layout, **machine(runtime)}
    if json_path is not None and str(json_path) == "-":
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return 0
    _print_table(report)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _stream(runtime: Runtime, parameters: StreamParameters) -> LiveStream:
    voice = runtime.voices.acquire(runtime.library.default_name(), with_index=False)
    rate_hz = voice.config.sample_rate_hz
    given = parameters.changed({"sample_rate": RATE_HZ, "output_sample_rate": rate_hz})
    return LiveStream(Source(voice, given, "rmvpe"), SEED)


def _measure(runtime: Runtime, stream: LiveStream, rmvpe: Rmvpe | None, num_blocks: int) -> Pairs:
    """Blocks from the middle of a stream: the first ones fill its context and are not counted."""
    geometry = stream.geometry
    num_before = -(-geometry.window_frames // geometry.block_frames) + 1
    pairs = Pairs()
    for number, step in enumerate(_steps(stream)):
        request = stream.request(step)
        if request is None:
            raise InvalidParameter("the gate must not close in a benchmark")
        outcomes, cost = timed(runtime.runner.window_steps([request]))
        result = outcomes[0]
        if not isinstance(result, WindowResult):
            raise result
        if number >= num_before:
            pairs.ours.append(cost)
            if rmvpe is not None:
                _measure_plain(pairs, request, result, rmvpe)
        stream.finish(step, result)
        if len(pairs.ours) == num_blocks:
            break
    return pairs


def _steps(stream: LiveStream) -> Iterator[Step]:
    """Of speech without an end."""
    block = stream.geometry.block_samples
    for audio in itertools.repeat(synthetic_speech(SPEECH_SECONDS)):
        for start in range(0, len(audio), block):
            yield from stream.feed(audio[start : start + block])


def _measure_plain(pairs: Pairs, request: WindowRequest, result: WindowResult, rmvpe: Rmvpe) -> None:
    with torch.inference_mode():
        plain, cost = timed(plain_window_steps(request, rmvpe, torch.from_numpy(result.f0_hz)))
    assert isinstance(plain, PlainResult)
    pairs.plain.append(cost)
    pairs.differences_db.append(difference_db(result.waveform, plain.waveform.numpy()))


def difference_db(ours: NDArray[np.float32], plain: NDArray[np.float32]) -> float:
    """Level of the difference by the level of the signal."""
    return float(20 * np.log10(np.linalg.norm(ours - plain) / np.linalg.norm(plain)))


def timed(steps: Generator[Stage, None, T]) -> tuple[T, Cost]:
    """The result, and what each stage cost. What comes after the last pause counts as the last stage."""
    wall_s: defaultdict[str, float] = defaultdict(float)
    cpu_s: defaultdict[str, float] = defaultdict(float)
    stage, result = "result", None
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            stage = str(next(steps))
        except StopIteration as end:
            result = end.value
        wall_s[stage] += time.perf_counter() - wall
        cpu_s[stage] += time.process_time() - cpu
        if result is not None:
            return result, Cost(dict(wall_s), dict(cpu_s))


def _report(pairs: Pairs, stream: LiveStream) -> dict[str, object]:
    """Medians in ms; ratios are of the pairs."""
    geometry = stream.geometry
    report: dict[str, object] = {
        "block_ms": 10 * geometry.block_frames,
        "window_ms": 10 * geometry.window_frames,
        "decoded_ms": 10 * geometry.decode_frames,
        "blocks": len(pairs.ours),
        "ours_ms": _medians_ms(pairs.ours),
        "ours_max_ms": 1000 * max(sum(cost.wall_s.values()) for cost in pairs.ours),
    }
    if pairs.plain:
        report["plain_ms"] = _medians_ms(pairs.plain)
        report["times_faster"] = _ratio([(_sum(p.wall_s), _sum(o.wall_s)) for o, p in _pairs(pairs)])
        report["times_less_work"] = _ratio([(_sum(p.cpu_s), _sum(o.cpu_s)) for o, p in _pairs(pairs)])
        report["difference_db"] = statistics.median(pairs.differences_db)
    return report


def _pairs(pairs: Pairs) -> list[tuple[Cost, Cost]]:
    return list(zip(pairs.ours, pairs.plain, strict=True))


def _sum(seconds: dict[str, float]) -> float:
    return sum(seconds.values())


def _ratio(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(plain / ours for plain, ours in pairs)


def _medians_ms(costs: list[Cost]) -> dict[str, dict[str, float]]:
    """By stage and as "all": time by the clock, and processor time on all cores."""
    names = dict.fromkeys(name for cost in costs for name in cost.wall_s)
    medians = {
        name: {
            "wall": 1000 * statistics.median(cost.wall_s.get(name, 0.0) for cost in costs),
            "cpu": 1000 * statistics.median(cost.cpu_s.get(name, 0.0) for cost in costs),
        }
        for name in names
    }
    medians["all"] = {
        "wall": 1000 * statistics.median(_sum(cost.wall_s) for cost in costs),
        "cpu": 1000 * statistics.median(_sum(cost.cpu_s) for cost in costs),
    }
    return medians


def _print_table(report: dict[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table

    ours, plain = report["ours_ms"], report.get("plain_ms", {})
    assert isinstance(ours, dict)
    assert isinstance(plain, dict)
    title = f"{report['synthetic']}, block {report['block_ms']} ms, window {report['window_ms']} ms"
    table = Table("stage", "ms", "processor ms", "plain: ms", "processor ms", title=title)
    for name, times in ours.items():
        other = plain.get(name)
        plain_columns = ("", "") if other is None else (f"{other['wall']:.1f}", f"{other['cpu']:.1f}")
        table.add_row(name, f"{times['wall']:.1f}", f"{times['cpu']:.1f}", *plain_columns)
    console = Console()
    console.print(table)
    console.print(
        f"{report['blocks']} blocks, {report['threads']} threads on {report['device']}, torch {report['torch']}; "
        f"the slowest block took {report['ours_max_ms']:.0f} ms"
    )
    if "times_faster" in report:
        console.print(
            f"than the plain window: {report['times_faster']:.2f} times faster, {report['times_less_work']:.2f} times "
            f"less processor time; the kept part differs by {report['difference_db']:.0f} dB of its level"
        )

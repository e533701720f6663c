"""`anivoice bench convert`: a file through full-size networks with random weights, by stage, against the yardstick."""

import io
import json
import platform
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
import torch

from anivoice.audio.files import to_int16
from anivoice.bench.straightforward import convert_straightforwardly
from anivoice.bench.synthetic import synthetic_rmvpe_state, synthetic_speech, synthetic_voice
from anivoice.config import Settings
from anivoice.engine.batch import Job
from anivoice.engine.runtime import Runtime, build_runtime
from anivoice.errors import InvalidParameter
from anivoice.models.rmvpe import Rmvpe, build_rmvpe, load_rmvpe
from anivoice.offline import ConversionTask, convert_file
from anivoice.parameters import ConversionParameters
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.networks import SaliencePitch
from anivoice.voices.voice import Voice

MAX_BASELINE_SECONDS = 38


@dataclass
class Figures:
    """What was measured, one entry per repetition."""

    seconds: float
    wall_s: list[float] = field(default_factory=list)
    baseline_s: list[float] = field(default_factory=list)
    stages_s: list[dict[str, float]] = field(default_factory=list)
    peak_memory_mb: list[float] = field(default_factory=list)
    max_difference: float | None = None

    def report(self, layout: str, num_threads: int, device: str) -> dict[str, Any]:
        """Medians, as the JSON has them. Ratios are of the runs of one pair."""
        wall = statistics.median(self.wall_s)
        names = sorted({name for stages in self.stages_s for name in stages})
        report: dict[str, Any] = {
            "benchmark": "convert",
            "synthetic": layout,
            "audio_seconds": self.seconds,
            "device": device,
            "threads": num_threads,
            "machine": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "wall_s": wall,
            "real_time_factor": wall / self.seconds,
            "stages_s": {name: statistics.median(s.get(name, 0.0) for s in self.stages_s) for name in names},
            "peak_memory_mb": max(self.peak_memory_mb),
        }
        if self.baseline_s:
            ratios = [b / w for b, w in zip(self.baseline_s, self.wall_s, strict=True)]
            report["baseline_s"] = statistics.median(self.baseline_s)
            report["times_faster"] = statistics.median(ratios)
            report["max_difference"] = self.max_difference
        return report


class PeakMemory:
    """The process's largest resident memory during a block, in MiB, by looking every 10 ms."""

    def __enter__(self) -> "PeakMemory":
        self.peak_mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.peak_mb = max(self.peak_mb, process.memory_info().rss / 2**20)
            if self._done.wait(0.01):
                return


def run_bench_convert(
    settings: Settings,
    layout: str,
    seconds: float,
    pitch_algo: str,
    repeat: int,
    with_baseline: bool,
    json_path: Path | None,
) -> int:
    """Measures, prints a table, writes JSON. Raises InvalidParameter for sizes that make no sense."""
    if seconds <= 0 or repeat < 1:
        raise InvalidParameter("--seconds must be above 0 and --repeat at least 1")
    runtime = build_runtime(settings)
    is_exact = runtime.runner.device.type == "cpu" and runtime.runner.dtype == torch.float32
    compares = with_baseline and is_exact and seconds <= MAX_BASELINE_SECONDS and pitch_algo == "rmvpe"
    voice, rmvpe_state = synthetic_voice(layout), synthetic_rmvpe_state()
    estimators = {"rmvpe": SaliencePitch(_placed_rmvpe(rmvpe_state, runtime))}
    runtime.runner.pitch = PitchExtractor(settings.weights_dir, runtime.runner.device, runtime.runner.dtype, estimators)
    runtime.engine.start()
    try:
        figures = _measure(runtime, voice, load_rmvpe(rmvpe_state) if compares else None, seconds, pitch_algo, repeat)
    finally:
        runtime.engine.stop()
    report = figures.report(layout, runtime.runner.num_threads or torch.get_num_threads(), str(runtime.runner.device))
    if json_path is not None and str(json_path) == "-":
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return 0
    _print_table(report)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _placed_rmvpe(state: dict[str, torch.Tensor], runtime: Runtime) -> Rmvpe:
    network = build_rmvpe(state).to(runtime.runner.device)
    network.set_network_dtype(runtime.runner.dtype)
    return network


def _measure(runtime: Runtime, voice: Voice, rmvpe: Rmvpe | None, seconds: float, algo: str, repeat: int) -> Figures:
    """`rmvpe` is the yardstick's; None for no yardstick."""
    upload = io.BytesIO()
    soundfile.write(upload, to_int16(synthetic_speech(seconds)), 16000, "PCM_16", format="WAV")
    figures = Figures(seconds)
    task = ConversionTask(voice, ConversionParameters(), algo, seed=1)
    ours = _convert(runtime, ConversionTask(voice, ConversionParameters(), algo, seed=None), upload)
    if rmvpe is not None:
        torch.set_num_threads(runtime.runner.num_threads or torch.get_num_threads())
        theirs = _convert_straightforwardly(voice, rmvpe, upload, noise=False)
        common = min(len(ours), len(theirs))
        figures.max_difference = float(np.abs(ours[:common] - theirs[:common]).max())
    for _ in range(repeat):
        before = dict(runtime.engine.stage_s)
        with PeakMemory() as memory:
            started = time.perf_counter()
            _convert(runtime, task, upload)
            figures.wall_s.append(time.perf_counter() - started)
        spent = {name: s - before.get(name, 0.0) for name, s in runtime.engine.stage_s.items()}
        spent["files"] = figures.wall_s[-1] - sum(spent.values())
        figures.stages_s.append(spent)
        figures.peak_memory_mb.append(memory.peak_mb)
        if rmvpe is not None:
            started = time.perf_counter()
            _convert_straightforwardly(voice, rmvpe, upload, noise=True)
            figures.baseline_s.append(time.perf_counter() - started)
    return figures


def _convert(runtime: Runtime, task: ConversionTask, upload: io.BytesIO) -> np.ndarray:
    result = io.BytesIO()
    upload.seek(0)
    convert_file(runtime.engine, task, upload, result, Job())
    result.seek(0)
    return np.asarray(soundfile.read(result, dtype="float32")[0])


def _convert_straightforwardly(voice: Voice, rmvpe: Rmvpe, upload: io.BytesIO, noise: bool) -> np.ndarray:
    result = io.BytesIO()
    upload.seek(0)
    convert_straightforwardly(voice, rmvpe, upload, result, noise)
    result.seek(0)
    return np.asarray(soundfile.read(result, dtype="float32")[0])


def _print_table(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    wall = report["wall_s"]
    table = Table("stage", "seconds", "share", title=f"{report['synthetic']}, {report['audio_seconds']:g} s of audio")
    for name, s in sorted(report["stages_s"].items(), key=lambda item: -item[1]):
        table.add_row(name, f"{s:.3f}", f"{s / wall:.1%}")
    table.add_section()
    table.add_row("whole file path", f"{wall:.3f}", f"{report['real_time_factor']:.3f} x real time")
    if "baseline_s" in report:
        table.add_row("straightforward eager", f"{report['baseline_s']:.3f}", f"ratio {report['times_faster']:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{report['threads']} threads on {report['device']}, torch {report['torch']}, "
        f"peak memory {report['peak_memory_mb']:.0f} MiB"
    )
    if report.get("max_difference") is not None:
        console.print(
            f"largest difference from the straightforward form: {report['max_difference']:.1e} (without noise)"
        )

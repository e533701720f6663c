"""`anivoice bench live`: many speakers at once through the whole server and full-size networks."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from anivoice.bench.load import Figures, LoadOptions, LoadTest, load_test, machine
from anivoice.bench.load_report import show
from anivoice.bench.synthetic import synthetic_speech
from anivoice.bench.synthetic_runtime import synthetic_runtime
from anivoice.config import Settings
from anivoice.engine.runtime import build_runtime
from anivoice.errors import AnivoiceError
from anivoice.parameters import ConversionParameters

MAX_CAPACITY = 1024
FILE_RATE_HZ = 16000


def run_bench_live(
    settings: Settings,
    layout: str,
    options: LoadOptions,
    find_capacity: bool,
    admit_all: bool,
    file_seconds: float,
    json_path: Path | None,
) -> int:
    """Measures `options.voices` of random weights, or those in the weights folder where `layout` is empty; prints a
    table, writes JSON. With `file_seconds` a second time, beside files of that length. Raises InvalidParameter for an
    unknown layout.
    """
    num_voices = len(options.voices)
    runtime = synthetic_runtime(settings, layout, num_voices) if layout else build_runtime(settings)
    max_sessions = MAX_CAPACITY if find_capacity else options.num_sessions
    max_load = float("inf") if find_capacity or admit_all else None
    with load_test(settings, runtime, options.voices[0], max_sessions, max_load) as test:
        if find_capacity:
            report = _find_capacity(test, options)
        elif file_seconds:
            report = _beside_file(test, options, file_seconds)
        else:
            report = test.run(options, options.num_sessions)
    what = layout or ", ".join(options.voices)
    preset = options.parameters.get("preset", "balanced")
    report |= {"benchmark": "live", "synthetic": layout or None, "voices": num_voices, **machine(runtime)}
    report["parameters"] = dict(options.parameters)
    show(report, f"{what}, {report['sessions']} sessions, {num_voices} voices, preset {preset}", json_path)
    return 0


def _beside_file(test: LoadTest, options: LoadOptions, file_seconds: float) -> Figures:
    """The figures while files are converted; `alone_block_ms` are the server's for its blocks without them."""
    alone = test.run(options, options.num_sessions)["server"]
    assert isinstance(alone, dict)
    with _converting_files(test, options, file_seconds):
        report = test.run(options, options.num_sessions)
    return report | {"file_seconds": file_seconds, "alone_block_ms": alone["server_block_ms"]}


@contextmanager
def _converting_files(test: LoadTest, options: LoadOptions, seconds: float) -> Iterator[None]:
    """Another process has a file of that length converted, again and again. Raises AnivoiceError if one is refused."""
    known = ConversionParameters.model_fields
    given = {name: value for name, value in options.parameters.items() if name in known}
    parameters = {"model_name": options.voices[0], **given}
    with tempfile.TemporaryDirectory(prefix="anivoice-") as folder:
        path = Path(folder) / "file.wav"
        soundfile.write(path, synthetic_speech(seconds, FILE_RATE_HZ), FILE_RATE_HZ)
        plan = {"base_url": test.server.base_url, "path": str(path), "parameters": parameters}
        with subprocess.Popen(
            [sys.executable, "-m", "anivoice.bench.file_client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stderr is not None
            client.stdin.write(json.dumps(plan))
            client.stdin.close()
            client.stdout.readline()
            try:
                yield
                if client.poll() is not None:
                    raise AnivoiceError("the file was not converted: " + client.stderr.read().strip())
            finally:
                client.terminate()


def _find_capacity(test: LoadTest, options: LoadOptions) -> Figures:
    """The figures of the largest load that fits, and what was tried."""
    runs: dict[int, Figures] = {}

    def fits(num_sessions: int) -> bool:
        runs[num_sessions] = test.run(options, num_sessions)
        return is_within(runs[num_sessions])

    capacity = search_largest(fits, options.num_sessions, MAX_CAPACITY)
    report = runs[capacity or min(runs)]
    return report | {"capacity": capacity, "tried": {str(n): is_within(run) for n, run in sorted(runs.items())}}


def is_within(figures: Figures) -> bool:
    """Every session was let in, no block was dropped, late or failed, and p99 from block in to block out is a block."""
    clients, server = figures["clients"], figures["server"]
    assert isinstance(clients, dict)
    assert isinstance(server, dict)
    blocks = server["blocks"]
    if clients["failed"] or clients["dropped_blocks"] or any(blocks[name] for name in ("dropped", "late", "failed")):
        return False
    return bool(server["server_block_ms"].get("p99", 0.0) <= clients["promised_ms"].get("block", 0.0))


def search_largest(fits: Callable[[int], bool], start: int, limit: int) -> int:
    """The largest number up to `limit` for which `fits` holds, if it holds for all smaller ones; 0 for none.

    To within a sixteenth: every try takes its time.
    """
    low, high = 0, min(start, limit)
    while high <= limit and fits(high):
        low, high = high, min(2 * high, limit + 1)
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low

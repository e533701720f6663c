"""`anivoice bench live`: many speakers at once through the whole server and full-size networks."""

from collections.abc import Callable
from pathlib import Path

from anivoice.bench.load import Figures, LoadOptions, LoadTest, load_test, machine
from anivoice.bench.load_report import show
from anivoice.bench.synthetic_room import synthetic_room
from anivoice.config import Settings

MAX_CAPACITY = 1024


def run_bench_live(
    settings: Settings,
    layout: str,
    options: LoadOptions,
    find_capacity: bool,
    admit_all: bool,
    json_path: Path | None,
) -> int:
    """Measures, prints a table, writes JSON. Raises InvalidParameter for an unknown layout."""
    num_voices = len(options.voices)
    room = synthetic_room(settings, layout, num_voices)
    max_sessions = MAX_CAPACITY if find_capacity else options.num_sessions
    max_load = float("inf") if find_capacity or admit_all else None
    with load_test(settings, room, max_sessions, max_load) as test:
        report = _find_capacity(test, options) if find_capacity else test.run(options, options.num_sessions)
    preset = options.parameters.get("preset", "balanced")
    report |= {"benchmark": "live", "synthetic": layout, "voices": num_voices, **machine(room)}
    report["parameters"] = dict(options.parameters)
    show(report, f"{layout}, {report['sessions']} sessions, {num_voices} voices, preset {preset}", json_path)
    return 0


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

"""What a load test found, as a table and as JSON."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anivoice.bench.load import Figures

COLUMNS = ("p50", "p95", "p99", "max")
NAMES = {
    "batch_ms": "computing a batch",
    "engine_ms": "engine, with its queue",
    "server_block_ms": "server: block in to block out",
    "loop_lag_ms": "server: event loop lag",
}
CLIENT_NAMES = {
    "delay_ms": "client: end-to-end delay",
    "excess_ms": "client: beyond the promised",
    "client_lag_ms": "client: event loop lag",
}


def show(report: Figures, title: str, json_path: Path | None) -> None:
    """The table, and the file; only the JSON where the path is -."""
    text = json.dumps(report, indent=2) + "\n"
    if json_path is not None and str(json_path) == "-":
        sys.stdout.write(text)
        return
    _print(report, title)
    if json_path is not None:
        json_path.write_text(text)


def _print(report: Figures, title: str) -> None:
    clients, server = _part(report, "clients"), _part(report, "server")
    table = Table("milliseconds", *COLUMNS, title=title)
    for stage, times in _part(server, "stages_ms").items():
        _add_row(table, f"stage {stage}", times)
    table.add_section()
    for figures, names in ((server, NAMES), (clients, CLIENT_NAMES)):
        for key, name in names.items():
            _add_row(table, name, figures[key])
    _add_row(table, "server: the same without files", report.get("alone_block_ms"))
    console = Console()
    console.print(table)
    promised = _part(clients, "promised_ms")
    presets = _part(clients, "presets")
    console.print("presets: " + ", ".join(f"{name} ({num} sessions)" for name, num in presets.items()))
    console.print("promised: " + ", ".join(f"{name} {ms:g}" for name, ms in promised.items()) + " ms")
    console.print("blocks: " + ", ".join(f"{n} {name}" for name, n in _part(server, "blocks").items()))
    console.print(
        f"{clients['connected']} of {report['sessions']} sessions, {clients['dropped_blocks']} blocks dropped, "
        f"{clients['samples_missing']} samples missing, {server['mean_batch']:.1f} blocks per batch"
    )
    console.print(
        f"server process: {server['cpu_ms_per_block']:.2f} ms of CPU time per block, {server['cores_used']:.2f} cores"
    )
    for error in clients["errors"] if isinstance(clients["errors"], list) else []:
        console.print(f"refused or failed: {error}")
    device_mb = server["device_memory_mb"]
    device = "" if device_mb is None else f", device {device_mb:.0f} MiB"
    per_session = f"{report['memory_per_session_mb']:.2f} MiB per session"
    console.print(f"memory: host {server['host_memory_mb']:.0f} MiB, {per_session}{device}")
    if "capacity" in report:
        console.print(f"capacity: {report['capacity']} sessions (tried: {report['tried']})")


def _part(figures: Mapping[str, object], name: str) -> dict[str, object]:
    part = figures[name]
    assert isinstance(part, dict)
    return part


def _add_row(table: Table, name: str, times: object) -> None:
    if isinstance(times, dict) and times:
        table.add_row(name, *(f"{times[column]:.2f}" for column in COLUMNS))

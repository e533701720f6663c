"""`anivoice doctor`: what is installed, found, missing or slow, and what mends it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from anivoice.commands.doctor import machine, speed, weights
from anivoice.commands.doctor.finding import Finding, run_check

COLOURS = {"ok": "green", "missing": "yellow", "slow": "yellow", "wrong": "red"}
WIDTH_WITHOUT_TERMINAL = 120


def run_doctor(
    weights_dir: Path,
    as_json: bool,
    host: str,
    port: int,
    out: TextIO,
    *,
    gpu_index: int | None = None,
    device: str | None = None,
) -> int:
    """Prints the report. Returns 0 if a server with these settings would work, else 1."""
    findings = diagnose(weights_dir, host, port, gpu_index, device)
    works = not any(finding.prevents_serving for finding in findings)
    if as_json:
        print(to_json(findings, works), file=out)
    else:
        print_table(findings, works, out)
    return 0 if works else 1


def diagnose(
    weights_dir: Path, host: str, port: int, gpu_index: int | None = None, device: str | None = None
) -> list[Finding]:
    """All findings, in the order of the report. Takes a few seconds, two of them for the speed of the CPU."""
    checks = {
        "python": machine.check_python,
        "packages": lambda: machine.check_packages(machine.needed_packages()),
        "libraries": machine.check_native_modules,
        "event loop": machine.check_event_loop,
        "sound formats": machine.check_sound_formats,
        "device": lambda: machine.check_devices(gpu_index, device),
        "memory": machine.check_memory,
        "disk": lambda: machine.check_disk(weights_dir),
        "port": lambda: machine.check_port(host, port),
        "threads": lambda: speed.check_threads(speed.current_environment()),
        "speed": speed.check_speed,
        "weights": lambda: weights.check_weights_dir(weights_dir),
        "content encoder": lambda: weights.check_content_encoder(weights_dir),
        "rmvpe": lambda: weights.check_rmvpe(weights_dir),
        "pitch": weights.check_bundled_pitch,
        "voices": lambda: weights.check_voices(weights_dir),
        "other files": lambda: weights.check_unlisted(weights_dir),
    }
    return [finding for name, check in checks.items() for finding in run_check(name, check)]


def to_json(findings: Sequence[Finding], works: bool) -> str:
    """`{"works": bool, "findings": [{name, status, detail, remedy, essential}, ...]}`"""
    rows = [
        {
            "name": finding.name,
            "status": finding.status,
            "detail": finding.detail,
            "remedy": finding.remedy,
            "essential": finding.is_essential,
        }
        for finding in findings
    ]
    return json.dumps({"works": works, "findings": rows}, indent=2, ensure_ascii=False)


def print_table(findings: Sequence[Finding], works: bool, out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, width=None if out.isatty() else WIDTH_WITHOUT_TERMINAL)
    table = Table("what", "status", "detail", "remedy", box=None, pad_edge=False)
    for finding in findings:
        status = Text(finding.status, style=COLOURS[finding.status])
        table.add_row(Text(finding.name), status, Text(finding.detail), Text(finding.remedy))
    console.print(table)
    console.print(Text(_verdict(findings, works)))


def _verdict(findings: Sequence[Finding], works: bool) -> str:
    if not works:
        names = ", ".join(finding.name for finding in findings if finding.prevents_serving)
        return f"\nThe server would not work yet. First mend: {names}."
    num_amiss = sum(finding.status != "ok" for finding in findings)
    return "\nThe server would work." + (f" {num_amiss} things could be better." if num_amiss else "")

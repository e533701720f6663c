"""`anivoice voices`: what lies in `weights/`, as a table or as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from anivoice.voices.library import VoiceEntry, VoiceLibrary


def show_voices(weights_dir: Path, as_json: bool, out: TextIO) -> int:
    """Prints every voice. Returns 1 if one of them cannot be used, else 0."""
    entries = VoiceLibrary(weights_dir).list()
    if as_json:
        out.write(json.dumps({"voices": [_as_json(entry) for entry in entries]}, indent=2) + "\n")
    else:
        _print_table(entries, weights_dir, out)
    return int(any(entry.problem or entry.index_problem for entry in entries))


def _as_json(entry: VoiceEntry) -> dict[str, object]:
    config = entry.config
    described = asdict(entry)
    described.pop("config")
    if config is not None:
        described |= {
            "version": config.version,
            "sample_rate_hz": config.sample_rate_hz,
            "has_f0": config.has_f0,
            "num_speakers": config.num_speakers,
            "vocoder": config.vocoder,
        }
    return described


def _print_table(entries: list[VoiceEntry], weights_dir: Path, out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=out)
    if not entries:
        console.print(f"No voices yet: put a voice's .pth (and its .index) into {weights_dir}.", soft_wrap=True)
        return
    table = Table("voice", "version", "rate", "f0", "speakers", "index", "size", "problems")
    for entry in entries:
        table.add_row(*_cells(entry))
    console.print(table)


def _cells(entry: VoiceEntry) -> list[str]:
    size = f"{entry.size_bytes / 2**20:.1f} MiB"
    problems = "; ".join(problem for problem in (entry.problem, entry.index_problem) if problem)
    if entry.config is None:
        return [entry.name, "", "", "", "", entry.index_name or "-", size, problems]
    config = entry.config
    f0 = ("zero" if entry.unvoiced_f0 == "zero" else "interpolate") if config.has_f0 else "no"
    index = f"{entry.num_index_vectors} vectors" if entry.num_index_vectors else entry.index_name or "-"
    rate = f"{config.sample_rate_hz // 1000}k"
    return [entry.name, config.version, rate, f0, str(config.num_speakers), index, size, problems]

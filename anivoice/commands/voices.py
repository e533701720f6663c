"""`anivoice voices`: what lies in `weights/`, as a table or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from anivoice.voices.catalogue import Unlisted
from anivoice.voices.library import VoiceEntry, VoiceLibrary


def show_voices(weights_dir: Path, as_json: bool, out: TextIO) -> int:
    """Prints every voice, and what lies there and is none. Returns 1 if one of them cannot be used, else 0."""
    library = VoiceLibrary(weights_dir)
    entries, unlisted = library.list(), library.unlisted()
    if as_json:
        answer = {"voices": [_as_json(entry) for entry in entries], "unlisted": [asdict(one) for one in unlisted]}
        out.write(json.dumps(answer, indent=2) + "\n")
    else:
        _print_table(entries, weights_dir, out)
        _print_unlisted(unlisted, out)
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
    from rich.text import Text

    console = Console(file=out, markup=False, highlight=False)
    if not entries:
        console.print(f"No voices yet: put a voice's .pth (and its .index) into {weights_dir}.", soft_wrap=True)
        return
    table = Table("voice", "version", "rate", "f0", "speakers", "index", "size", "problems")
    for entry in entries:
        # As text: a name in brackets is no markup.
        table.add_row(*(Text(cell) for cell in _cells(entry)))
    console.print(table)
    for entry in entries:
        if entry.index_name:
            console.print(f"{entry.name} uses {entry.index_name}: {entry.index_reason}", soft_wrap=True)


def _print_unlisted(unlisted: Sequence[Unlisted], out: TextIO) -> None:
    for one in unlisted:
        out.write(f"not a voice: {one.file}: {one.reason}\n".encode("utf-8", "backslashreplace").decode())


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

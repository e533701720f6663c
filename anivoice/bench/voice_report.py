"""The judge's table and JSON."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROWS = {
    "utterances": "utterances",
    "words": "words",
    "word_errors_source": "word errors, source",
    "word_errors_made": "word errors, converted",
    "words_lost": "words heard otherwise than in the source",
    "cosine_source_target": "cosine source - target",
    "cosine_made_target": "cosine converted - target",
    "cosine_made_source": "cosine converted - source",
    "f0_correlation": "f0 correlation",
    "f0_median_cents": "f0 median error, cents",
    "voiced_agreement": "voiced agreement",
    "mel_db": "mel distance, dB",
    "real_time_factor": "real-time factor",
    "semitones": "transposed, semitones",
}


def show_judgement(report: Mapping[str, object], json_path: Path | None) -> None:
    """Prints the table; writes JSON to the file, or to standard output alone for `-`."""
    text = json.dumps(report, indent=2) + "\n"
    if json_path is not None and str(json_path) == "-":
        sys.stdout.write(text)
        return
    sets = report["sets"]
    assert isinstance(sets, dict)
    table = Table(f"{report['path']} path", *sets)
    for key, name in ROWS.items():
        table.add_row(name, *(_shown(figures.get(key)) for figures in sets.values()))
    Console().print(table)
    if json_path is not None:
        json_path.write_text(text)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return "" if value is None else str(value)

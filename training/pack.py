"""A corpus small enough to carry: `python -m training.pack CORPUS OUT`, mono Opus at 16 kHz beside its manifest.

Opus is smaller than log-mel would be, 2.5 kB a second in place of 16, and lets the machine that trains change the
sound as it likes. Only the splits that are trained on and looked at come along.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import soundfile

from anivoice.training.content_cache import read_audio
from anivoice.training.wave_augment import RATE_HZ, set_level

SPLITS = ("train", "target_train", "target_heldout", "heldout", "people")
QUALITY = 0.94
"""soundfile's compression level of Opus: about 20 kbit/s."""

LEVEL_DB = -26.0


def pack(corpus: Path, out: Path) -> int:
    """Writes OUT; returns its size in bytes. What is there already is kept."""
    out.mkdir(parents=True, exist_ok=True)
    lines = map(json.loads, (corpus / "manifest.jsonl").read_text("utf-8").splitlines())
    kept = [_packed(line, number, corpus, out) for number, line in enumerate(lines) if line["split"] in SPLITS]
    _write(out / "manifest.jsonl", kept)
    return sum(path.stat().st_size for path in out.iterdir())


def _packed(line: dict[str, object], number: int, corpus: Path, out: Path) -> dict[str, object]:
    path = out / f"{number:05d}.opus"
    if not path.is_file():
        samples = set_level(read_audio(corpus / str(line["path"])), LEVEL_DB)
        soundfile.write(path, samples, RATE_HZ, format="OGG", subtype="OPUS", compression_level=QUALITY)
    return {**line, "path": path.name, "sample_rate_hz": RATE_HZ}


def _write(path: Path, lines: Iterable[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def main() -> int:
    """Packs and tells how large it became."""
    parser = argparse.ArgumentParser(description="Pack a corpus for a machine that is lent for minutes.")
    parser.add_argument("corpus", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("out", type=Path, help="where the packed corpus goes")
    arguments = parser.parse_args()
    size = pack(arguments.corpus, arguments.out)
    sys.stdout.write(f"{size / 2**20:.1f} MiB in {arguments.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

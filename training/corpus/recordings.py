"""Real recordings with transcripts, for tests only: Debian's `pocketsphinx-testdata` and the clips of `alsa-utils`."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from training.corpus.aligned import align
from training.corpus.speech import Spoken

if TYPE_CHECKING:
    from pocketsphinx import Decoder

POCKETSPHINX_DIR = Path("/usr/share/pocketsphinx/test/data")
ALSA_DIR = Path("/usr/share/sounds/alsa")
TRANSCRIPTS = {"librivox": "transcription", "cards": "cards.transcription"}


def transcripts(name: str) -> dict[str, str]:
    """Words by the file's stem, of one of `librivox`, `cards` and `alsa`."""
    if name == "alsa":
        return {path.stem: path.stem.replace("_", " ").lower() for path in sorted(ALSA_DIR.glob("*_*.wav"))}
    lines = (POCKETSPHINX_DIR / name / TRANSCRIPTS[name]).read_text("utf-8").splitlines()
    found = (re.fullmatch(r"<s>\s*(.*?)\s*</s>\s*\((.*)\)", line.strip()) for line in lines)
    return {match[2]: match[1] for match in found if match is not None}


def speak(decoder: "Decoder", name: str, texts: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Spoken]]:
    """Copies the recordings of `texts` to `directory` and aligns them."""
    directory.mkdir(parents=True, exist_ok=True)
    folder = ALSA_DIR if name == "alsa" else POCKETSPHINX_DIR / name
    for stem, text in texts.items():
        path = directory / f"{stem}.wav"
        shutil.copy(folder / path.name, path)
        segments = align(decoder, path, text)
        if segments:
            yield stem, Spoken(path, segments)

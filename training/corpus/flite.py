"""Flite's voices: a process for each sentence, phone times by `-psdur`."""

import random
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.corpus.speech import Segment, Spoken

STRETCH_RANGE = (0.8, 1.2)
"""Length of the phones."""
PITCH_RANGE = (0.85, 1.2)
"""Mean pitch relative to the voice's own."""


def speak(voice: str, mean_pitch_hz: float, texts: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Spoken]]:
    """`texts` by id as `directory/ID.wav`, each at its own rate and pitch."""
    directory.mkdir(parents=True, exist_ok=True)
    for text_id, text in texts.items():
        generator = random.Random(f"{voice} {text_id}")  # noqa: S311
        stretch = generator.uniform(*STRETCH_RANGE)
        pitch_hz = mean_pitch_hz * generator.uniform(*PITCH_RANGE)
        wave = directory / f"{text_id}.wav"
        command = ["flite", "-voice", voice, "-psdur", "--setf", f"duration_stretch={stretch:.3f}", "--setf",
                   f"int_f0_target_mean={pitch_hz:.1f}", "-t", text, "-o", str(wave)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode == 0 and wave.is_file():
            yield text_id, Spoken(wave, _segments(done.stdout))


def _segments(printed: str) -> tuple[Segment, ...]:
    """`pau:0.253 dh:0.283 ...`: each phone with its end."""
    segments: list[Segment] = []
    begin = 0.0
    for item in printed.split():
        phone, end = item.rsplit(":", 1)
        segments.append((phone, begin, float(end)))
        begin = float(end)
    return tuple(segments)

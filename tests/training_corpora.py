"""A corpus of two speakers who hum and hiss: small, and with something to learn."""

import json
from pathlib import Path

import numpy as np
import soundfile

PHONES = (("SIL", 0.0, 0.1), ("IY", 0.1, 0.4), ("S", 0.4, 0.6), ("?", 0.6, 0.65), ("AA", 0.65, 0.9), ("SIL", 0.9, 1.0))
FORMANTS_HZ = {"IY": (300.0, 2500.0), "AA": (750.0, 1200.0), "?": (500.0, 1500.0)}
RATE_HZ = 16000


def say(pitch_hz: float, formant_factor: float, seed: int) -> np.ndarray:
    """One second: harmonics below two resonances for vowels, noise for S."""
    generator = np.random.default_rng(seed)
    samples = 0.001 * generator.standard_normal(RATE_HZ)
    for phone, begin, end in PHONES:
        part = slice(round(begin * RATE_HZ), round(end * RATE_HZ))
        time_s = np.arange(RATE_HZ)[part] / RATE_HZ
        if phone == "S":
            samples[part] += np.diff(0.1 * generator.standard_normal(len(time_s) + 1))
        elif phone in FORMANTS_HZ:
            for harmonic in range(1, 40):
                hz = harmonic * pitch_hz
                gain = sum(np.exp(-(((hz - formant_factor * f) / 200) ** 2)) for f in FORMANTS_HZ[phone])
                samples[part] += 0.1 * (gain + 0.02) * np.sin(2 * np.pi * hz * time_s)
    return samples


def write_corpus(folder: Path, num_sentences: int = 3) -> Path:
    """Speakers anna (the reference) and bert to train on, and carl held out."""
    lines = []
    for person, pitch_hz, factor, split in (
        ("anna", 210.0, 1.1, "target_train"),
        ("bert", 110.0, 0.95, "train"),
        ("carl", 140.0, 1.0, "heldout"),
    ):
        for number in range(num_sentences):
            path = folder / f"{person}{number}.wav"
            soundfile.write(path, say(pitch_hz + 5 * number, factor, number), RATE_HZ)
            lines.append(
                json.dumps(
                    {
                        "path": path.name,
                        "engine": "made",
                        "voice": person,
                        "person": person,
                        "text_id": f"t{number}",
                        "text": "e s a",
                        "seconds": 1.0,
                        "sample_rate_hz": RATE_HZ,
                        "phones": PHONES,
                        "licence": "none",
                        "split": split,
                    }
                )
            )
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder

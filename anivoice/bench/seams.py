"""`anivoice bench seams`: what the blocks of a stream do to the sound, for each preset, beside the file path."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from anivoice.audio.segmentation import DEFAULT_PROFILE
from anivoice.bench.load import Figures
from anivoice.bench.seam_measures import (
    Samples,
    StreamRun,
    forget_position,
    lag_ms,
    mel_distance_db,
    run_stream,
    seam_ratio,
    share_within_cents,
)
from anivoice.bench.synthetic import synthetic_speech
from anivoice.bench.synthetic_runtime import synthetic_runtime
from anivoice.config import Settings
from anivoice.engine.batch import Job
from anivoice.engine.engine import Engine
from anivoice.engine.runtime import build_runtime
from anivoice.errors import InvalidParameter
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source
from anivoice.offline import ConversionTask, convert_file, estimate_pitch
from anivoice.voices.voice import Voice

RATE_HZ = 16000
SOUNDS = ("vowel", "glide", "speech")
SEED = 1
CLOSE_CENTS = 10.0
COLUMNS = {
    "seam_ratio": "seams",
    "loose_seam_ratio": "anew",
    "mismatch": "windows",
    "loose_mismatch": "anew",
    "mel_db": "file dB",
    "other_seed_mel_db": "seed dB",
    "lag_ms": "lag ms",
    "f0_close": "f0",
}
CAPTION = """seams: spectral change there by that elsewhere; windows: difference of two by their level, where they meet
anew: the same with noise and phase begun anew in every window; file dB: log-mel distance of stream and file
seed dB: of two files with other seeds; f0: share of voiced frames within 10 cents of the file's"""


def sound(name: str, seconds: float) -> Samples:
    """`[seconds * 16000]`: a steady vowel, one that glides, or syllables. Raises InvalidParameter."""
    if name not in SOUNDS:
        raise InvalidParameter(f"--sounds: {name!r} is not one of {', '.join(SOUNDS)}")
    if name == "speech":
        return synthetic_speech(seconds, RATE_HZ)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    f0_hz = 150.0 * np.ones_like(t) if name == "vowel" else 150 * 2 ** (0.4 * np.sin(2 * np.pi * 0.5 * t))
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE_HZ
    return np.asarray(0.2 * sum(np.sin(h * phase) / h for h in range(1, 20)), np.float32)


def compare(engine: Engine, voice: Voice, preset: str, samples: Samples, algo: str) -> Figures:
    """One sound (16 kHz) through one preset: seams as they are and with noise and phase begun anew in every window, and
    the distance from the file path with the same seed; `other_seed_mel_db` is that between two files, as a measure.
    """
    given = {"preset": preset, "sample_rate": RATE_HZ, "output_sample_rate": voice.config.sample_rate_hz}
    source = Source(voice, StreamParameters.model_validate(given), algo)
    tied = run_stream(engine, source, samples, SEED)
    loose = run_stream(engine, source, samples, SEED, spoil=forget_position)
    file, other = (_convert(engine, voice, samples, algo, seed) for seed in (SEED, SEED + 1))
    rate_hz = voice.config.sample_rate_hz
    task = ConversionTask(voice, source.parameters, algo, SEED)
    return {
        "preset": preset,
        **_seams("", tied, source),
        **_seams("loose_", loose, source),
        "mel_db": mel_distance_db(tied.output, file, rate_hz),
        "other_seed_mel_db": mel_distance_db(other, file, rate_hz),
        "lag_ms": lag_ms(tied.output, file, rate_hz),
        "f0_close": share_within_cents(tied.f0_hz, _contour(engine, task, samples), CLOSE_CENTS),
    }


def _seams(prefix: str, run: StreamRun, source: Source) -> Figures:
    rate_hz = source.voice.config.sample_rate_hz
    ratio = seam_ratio(run.output, rate_hz, LiveStream(source, SEED))
    return {f"{prefix}seam_ratio": ratio, f"{prefix}mismatch": float(np.median(run.mismatches))}


def _convert(engine: Engine, voice: Voice, samples: Samples, algo: str, seed: int) -> Samples:
    upload, result = io.BytesIO(), io.BytesIO()
    soundfile.write(upload, samples, RATE_HZ, "FLOAT", format="WAV")
    upload.seek(0)
    convert_file(engine, ConversionTask(voice, StreamParameters(), algo, seed), upload, result, Job())
    result.seek(0)
    return np.asarray(soundfile.read(result, dtype="float32")[0])


def _contour(engine: Engine, task: ConversionTask, samples: Samples) -> Samples:
    """The file path's f0, from the recording's first frame on."""
    f0_hz = estimate_pitch(engine, task, samples, Job(), DEFAULT_PROFILE)
    return np.asarray(f0_hz[DEFAULT_PROFILE.pad_samples // 160 :], np.float32)


def run_bench_seams(
    settings: Settings,
    layout: str,
    model_name: str | None,
    presets: Sequence[str],
    sounds: Sequence[str],
    seconds: float,
    algo: str,
    json_path: Path | None,
) -> int:
    """Measures the voice `model_name`, or one of random weights; prints a table, writes JSON.

    Raises InvalidParameter, NotFound for what there is not.
    """
    if seconds < 1:
        raise InvalidParameter("--seconds must be at least 1")
    heard = {name: sound(name, seconds) for name in sounds}
    settled = [StreamParameters().changed({"preset": preset}).preset for preset in presets]
    runtime = build_runtime(settings) if model_name else synthetic_runtime(settings, layout, 1)
    rows: list[Figures] = []
    runtime.engine.start()
    try:
        with runtime.voices.using(model_name or runtime.library.default_name(), with_index=False) as voice:
            for name, samples in heard.items():
                rows += [{"sound": name, **compare(runtime.engine, voice, p, samples, algo)} for p in settled]
    finally:
        runtime.engine.stop()
    voice_name = model_name or layout
    report = {"benchmark": "seams", "voice": voice_name, "seconds": seconds, "pitch": algo, "rows": rows}
    if json_path is not None and str(json_path) == "-":
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return 0
    _print(rows, f"{voice_name}, {seconds:g} s of each sound, pitch by {algo}")
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _print(rows: Sequence[Figures], title: str) -> None:
    table = Table("sound", "preset", *COLUMNS.values(), title=title, box=SIMPLE, pad_edge=False, collapse_padding=True)
    for row in rows:
        table.add_row(str(row["sound"]), str(row["preset"]), *(f"{row[name]:.2f}" for name in COLUMNS))
    Console().print(table)
    print(CAPTION)

"""The whole offline pipeline against the golden vectors, sample for sample, through the engine's own runner."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conformance import cases_with_settings, load_voice
from numpy.typing import NDArray

from anivoice.audio.envelope import VolumeEnvelope, frame_rms
from anivoice.audio.files import to_int16
from anivoice.audio.resampler import StreamResampler
from anivoice.audio.segmentation import FRAME_SAMPLES, Profile, find_cuts, high_pass, plan_reference
from anivoice.engine.batch import Job
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.offline import ConversionTask, convert_segments, finish_contour
from anivoice.parameters import ConversionParameters
from anivoice.voices import Voice


def reference_input(folder: Path, described: str) -> NDArray[np.float64]:
    """The audio that the settings describe, scaled and filtered."""
    words = described.split()
    samples, _ = soundfile.read(folder / words[0], dtype="float32")
    if "samples" in words:
        start, stop = map(int, words[words.index("samples") + 1].split(":"))
        samples = samples[start:stop]
    clip = re.search(r"clip\(x\*([\d.]+), (-?[\d.]+), ([\d.]+)\)", described)
    if clip:
        factor, low, high = map(float, clip.groups())
        samples = np.clip(samples * np.float32(factor), np.float32(low), np.float32(high))
    peak = np.abs(samples).max() / 0.95
    return high_pass(samples / peak if peak > 1 else samples)


def run_reference(folder: Path, settings: dict, f0_raw: NDArray[np.float32] | None, voice: Voice) -> tuple:
    """int16 result and the planned segments."""
    cfg = settings["config"]
    profile = Profile(cfg["x_pad"], cfg["x_query"], cfg["x_center"], cfg["x_max"])
    audio = reference_input(folder, settings["audio"])
    segments = plan_reference(len(audio), find_cuts(audio, profile), profile)
    f0_hz = None
    if f0_raw is not None:
        p_len = (len(audio) + 2 * profile.pad_samples) // FRAME_SAMPLES
        era = "interpolate" if settings["era"] == "2026" else "zero"
        f0_hz = finish_contour(f0_raw[:p_len].astype(np.float64), era, settings["f0_up_key"])
    parameters = ConversionParameters(
        index_rate=settings["index_rate"], protect=min(settings["protect"], 0.5), speaker_id=settings["sid"]
    )
    task = ConversionTask(voice, parameters, "none", None)
    runner = TorchRunner(torch.device("cpu"), torch.float32, folder, num_threads=1)
    engine = Engine(runner)
    engine.start()
    try:
        phases = [0.0] * len(segments)
        pieces = list(convert_segments(engine, task, audio, segments, f0_hz, phases, Job(), profile))
    finally:
        engine.stop()
    made = np.concatenate(pieces)
    rate = settings["rms_mix_rate"]
    if rate != 1:
        envelope = VolumeEnvelope(frame_rms([audio], 8000), frame_rms([made], settings["tgt_sr"] // 2), len(made), rate)
        made = (made * envelope.gain(0, len(made))).astype(np.float32)
    if settings["resample_sr"] >= 16000 and settings["resample_sr"] != settings["tgt_sr"]:
        made = StreamResampler(settings["tgt_sr"], settings["resample_sr"]).feed(made, last=True)
    peak = np.abs(made).max() / 0.99
    return to_int16(made / np.float32(max(peak, 1.0))), segments


@pytest.mark.parametrize("case", cases_with_settings("pipeline"))
def test_conformance_pipeline(conformance_dir: Path, h768_hf_dir: Path, case: str) -> None:
    side = json.loads((conformance_dir / "pipeline" / f"{case}.json").read_text())
    arrays = dict(np.load(conformance_dir / "pipeline" / f"{case}.npz"))
    settings = side["settings"]
    voice = load_voice(conformance_dir, settings, h768_hf_dir)
    got, segments = run_reference(conformance_dir, settings, arrays.get("f0_raw"), voice)
    assert len(got) == settings["total_samples"]
    expected_windows = arrays["segments"][:, 0].tolist()
    assert [s.window_stop - s.window_start for s in segments] == expected_windows
    compared = 0
    for name, expected in arrays.items():
        if name == "audio_int16":
            part = got
        elif name.startswith("audio_int16_every"):
            part = got[:: int(name.removeprefix("audio_int16_every"))]
        elif name.startswith("slice"):
            start, stop = re.search(r"samples (\d+):(\d+)", side["expected"][name]["meaning"]).groups()  # type: ignore[union-attr]
            part = got[int(start) : int(stop)]
        else:
            continue
        difference = np.abs(part.astype(np.int32) - expected.astype(np.int32))
        assert difference.max() <= 4, f"{name}: {difference.max()} steps"
        assert np.corrcoef(part, expected)[0, 1] > 0.99999
        compared += 1
    assert compared

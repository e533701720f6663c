"""The whole offline pipeline against the golden vectors, sample for sample, through the engine's own runner."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conformance import cases_with_settings, load_voice, stated, stated_range
from numpy.typing import NDArray

from anivoice.audio.envelope import VolumeEnvelope, frame_rms
from anivoice.audio.files import to_int16
from anivoice.audio.resampler import StreamResampler
from anivoice.audio.segmentation import Profile, Segment, find_cuts, high_pass, plan_reference
from anivoice.engine.batch import Job
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.frames import FRAME_SAMPLES
from anivoice.offline import ConversionTask, convert_segments, finish_contour
from anivoice.parameters import ConversionParameters
from anivoice.voices.voice import Voice


def reference_input(folder: Path, described: str) -> NDArray[np.float64]:
    """The audio that the settings describe, scaled and filtered."""
    samples, _ = soundfile.read(folder / described.split()[0], dtype="float32")
    samples = samples[stated_range(described)]
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


def assert_segments(segments: list[Segment], expected: list[list[int]], settings: dict) -> None:
    """Each row: samples of the window, pitch frames (-1 without f0), output samples before the padding is cut off.

    A window that another one follows has 10 ms more audio than pitch (SPEC 10, step 5).
    """
    assert len(segments) == len(expected)
    frame_samples, pad_frames = settings["tgt_sr"] // 100, 100 * settings["config"]["x_pad"]
    for segment, (num_samples, num_pitch_frames, num_output) in zip(segments, expected, strict=True):
        assert segment.window_stop - segment.window_start == num_samples
        assert num_pitch_frames in (-1, segment.window_frames - (segment is not segments[-1]))
        assert (segment.num_frames + 2 * pad_frames) * frame_samples == num_output


@pytest.mark.parametrize("case", cases_with_settings("pipeline"))
def test_conformance_pipeline(conformance_dir: Path, h768_hf_dir: Path, case: str) -> None:
    side = json.loads((conformance_dir / "pipeline" / f"{case}.json").read_text())
    arrays = dict(np.load(conformance_dir / "pipeline" / f"{case}.npz"))
    settings = side["settings"]
    max_steps = stated(side["tolerance"]["audio"], "difference <= ")
    min_correlation = stated(side["tolerance"]["audio"], "correlation > ")
    voice = load_voice(conformance_dir, settings, h768_hf_dir)
    got, segments = run_reference(conformance_dir, settings, arrays.get("f0_raw"), voice)
    assert len(got) == settings["total_samples"]
    assert_segments(segments, arrays["segments"].tolist(), settings)
    assert abs(int(np.abs(got.astype(np.int32)).max()) - settings["int16_peak"]) <= max_steps
    compared = 0
    for name, expected in arrays.items():
        if name == "audio_int16":
            part = got
        elif name.startswith("audio_int16_every"):
            part = got[:: int(name.removeprefix("audio_int16_every"))]
        elif name.startswith("slice"):
            part = got[stated_range(side["expected"][name]["meaning"])]
        else:
            continue
        difference = np.abs(part.astype(np.int32) - expected.astype(np.int32))
        assert difference.max() <= max_steps, f"{name}: {difference.max()} steps"
        assert np.corrcoef(part, expected)[0, 1] > min_correlation
        compared += 1
    assert compared

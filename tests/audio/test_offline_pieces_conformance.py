"""High-pass, cut search and volume envelopes against the golden vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conformance import stated, stated_range
from scipy.signal import butter

from anivoice.audio.envelope import VolumeEnvelope, frame_rms, live_gain
from anivoice.audio.files import to_int16
from anivoice.audio.segmentation import (
    HIGH_PASS_HZ,
    HIGH_PASS_ORDER,
    SAMPLE_RATE_HZ,
    Profile,
    find_cuts,
    high_pass,
    high_pass_chunks,
)

Arrays = dict[str, np.ndarray]


def load(folder: Path, name: str) -> tuple[dict, Arrays]:
    side = json.loads((folder / f"{name}.json").read_text())
    return side, dict(np.load(folder / f"{name}.npz"))


def described(folder: Path, meaning: str) -> np.ndarray:
    """The audio that a side file describes: `... of samples A:B of the long file ...`."""
    name = "long" if "long" in meaning else "short"
    samples, _ = soundfile.read(folder / "audio" / f"speech_{name}_16k.wav", dtype="float32")
    return samples[stated_range(meaning)]


def test_conformance_high_pass(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "pipeline", "pieces")
    meanings = {name: entry["meaning"] for name, entry in side["expected"].items()}
    whole = high_pass(described(conformance_dir, meanings["filtered"]))
    np.testing.assert_allclose(whole, arrays["filtered"], **side["tolerance"])
    part = high_pass(described(conformance_dir, meanings["filtered_cut"]))
    step = int(stated(meanings["filtered_cut"], "every "))
    np.testing.assert_allclose(part[::step], arrays["filtered_cut"], **side["tolerance"])
    b, a = butter(HIGH_PASS_ORDER, HIGH_PASS_HZ, btype="high", fs=SAMPLE_RATE_HZ)
    np.testing.assert_allclose(b, arrays["b"], rtol=1e-12)
    np.testing.assert_allclose(a, arrays["a"], rtol=1e-12)


def test_high_pass_in_chunks_is_the_same(conformance_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = soundfile.read(conformance_dir / "audio" / "speech_long_16k.wav", dtype="float32")
    monkeypatch.setattr("anivoice.audio.segmentation.HIGH_PASS_CHUNK_SAMPLES", 100_003)
    chunks = list(high_pass_chunks(samples))
    assert len(chunks) > 3
    np.testing.assert_allclose(np.concatenate(chunks), high_pass(samples), rtol=0, atol=1e-6)


def test_conformance_cuts(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "pipeline", "pieces")
    meaning = side["expected"]["cuts"]["meaning"]
    seconds = {name: int(stated(meaning, f"x_{name}=")) for name in ("query", "center", "max")}
    audio = high_pass(described(conformance_dir, side["expected"]["filtered_cut"]["meaning"]))
    profile = Profile(pad_s=1, query_s=seconds["query"], center_s=seconds["center"], max_s=seconds["max"])
    cuts = find_cuts(audio, profile)
    assert cuts == arrays["cuts"].tolist()
    assert [cut // 160 * 160 for cut in cuts] == arrays["cuts_rounded"].tolist()


def test_conformance_offline_envelope(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "pipeline", "volume_envelope_offline")
    meanings = {name: entry["meaning"] for name, entry in (side["inputs"] | side["expected"]).items()}
    heard_name, made_name = (
        next(n for n in side["inputs"] if n.startswith(f"offline/{kind}_")) for kind in ("in", "out")
    )
    heard = arrays[heard_name] / stated(meanings[heard_name], "times ")
    made = (arrays[made_name] / stated(meanings[made_name], "times ")).astype(np.float32)
    half_second = 500 * int(stated(made_name, "out_"))
    input_rms, output_rms = frame_rms([heard], 8000), frame_rms(np.array_split(made, 7), half_second)
    np.testing.assert_allclose(input_rms, arrays["offline/rms1"], rtol=1e-5)
    np.testing.assert_allclose(output_rms, arrays["offline/rms2"], rtol=1e-5)
    rates = [name for name in side["expected"] if name.startswith("offline/rate")]
    assert rates
    for name in rates:
        envelope = VolumeEnvelope(input_rms, output_rms, len(made), float(name.removeprefix("offline/rate")))
        middle = len(made) // 3
        gain = np.concatenate([envelope.gain(0, middle), envelope.gain(middle, len(made))])
        got = made * gain
        step = int(stated(meanings[name], "every "))
        np.testing.assert_allclose(got[::step], arrays[name], **side["tolerance"])


def test_conformance_live_envelope(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "realtime", "volume_envelope_realtime")
    meaning = side["inputs"]["input_wav"]["meaning"]
    hop, extra = int(stated(meaning, "zc ")), int(stated(meaning, "extra_frame "))
    made = (arrays["infer_wav"] / stated(side["inputs"]["infer_wav"]["meaning"], "times ")).astype(np.float32)
    heard = (arrays["input_wav"] / stated(meaning, "times ")).astype(np.float32)[extra : extra + len(made)]
    rates = [name for name in side["expected"] if name.startswith("rate")]
    assert rates
    for name in rates:
        got = made * live_gain(heard, made, hop, float(name.removeprefix("rate")))
        step = int(stated(side["expected"][name]["meaning"], "every "))
        np.testing.assert_allclose(got[::step], arrays[name], **side["tolerance"])


def test_int16_is_truncated_towards_zero_and_clipped() -> None:
    """SPEC 10, step 8. The limit of the whole pipelines, some int16 steps, would not tell it from rounding."""
    steps = np.array([0.9, -0.9, 1.5, -1.5, 2.99, -2.99, 32767.6, 40000, -40000], np.float32)
    assert to_int16(steps / np.float32(32768)).tolist() == [0, 0, 1, -1, 2, -2, 32767, 32767, -32768]

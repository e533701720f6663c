"""High-pass, cut search and volume envelopes against the golden vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from anivoice.audio.envelope import VolumeEnvelope, frame_rms, live_gain
from anivoice.audio.segmentation import Profile, find_cuts, high_pass, high_pass_chunks

Arrays = dict[str, np.ndarray]


def load(folder: Path, name: str) -> tuple[dict, Arrays]:
    side = json.loads((folder / f"{name}.json").read_text())
    return side, dict(np.load(folder / f"{name}.npz"))


def described(folder: Path, meaning: str) -> np.ndarray:
    """The audio that a side file describes: `... of samples A:B of the long file ...`."""
    words = meaning.replace(",", " ").split()
    name = "long" if "long" in words else "short"
    samples, _ = soundfile.read(folder / "audio" / f"speech_{name}_16k.wav", dtype="float32")
    bounds = [word for word in words if word.count(":") == 1 and word.replace(":", "").isdigit()]
    if bounds:
        start, stop = map(int, bounds[0].split(":"))
        samples = samples[start:stop]
    return samples


def test_conformance_high_pass(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "pipeline", "pieces")
    short, _ = soundfile.read(conformance_dir / "audio" / "speech_short_16k.wav", dtype="float32")
    np.testing.assert_allclose(high_pass(short), arrays["filtered"], **side["tolerance"])
    long = described(conformance_dir, side["expected"]["filtered_cut"]["meaning"])
    np.testing.assert_allclose(high_pass(long)[::16], arrays["filtered_cut"], **side["tolerance"])


def test_high_pass_in_chunks_is_the_same(conformance_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = soundfile.read(conformance_dir / "audio" / "speech_long_16k.wav", dtype="float32")
    monkeypatch.setattr("anivoice.audio.segmentation.HIGH_PASS_CHUNK_SAMPLES", 100_003)
    chunks = list(high_pass_chunks(samples))
    assert len(chunks) > 3
    np.testing.assert_allclose(np.concatenate(chunks), high_pass(samples), rtol=0, atol=1e-6)


def test_conformance_cuts(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "pipeline", "pieces")
    meaning = side["expected"]["cuts"]["meaning"]
    seconds = {
        name: int(meaning.split(f"x_{name}=")[1].split(",")[0].rstrip(")")) for name in ("query", "center", "max")
    }
    audio = high_pass(described(conformance_dir, side["expected"]["filtered_cut"]["meaning"]))
    profile = Profile(pad_s=1, query_s=seconds["query"], center_s=seconds["center"], max_s=seconds["max"])
    cuts = find_cuts(audio, profile)
    assert cuts == arrays["cuts"].tolist()
    assert [cut // 160 * 160 for cut in cuts] == arrays["cuts_rounded"].tolist()


def test_conformance_offline_envelope(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "pipeline", "volume_envelope_offline")
    heard = arrays["offline/in_16k"] / 256
    made = (arrays["offline/out_40k"] / 256).astype(np.float32)
    input_rms, output_rms = frame_rms([heard], 8000), frame_rms(np.array_split(made, 7), 20000)
    np.testing.assert_allclose(input_rms, arrays["offline/rms1"], rtol=1e-5)
    np.testing.assert_allclose(output_rms, arrays["offline/rms2"], rtol=1e-5)
    rates = [name for name in side["expected"] if name.startswith("offline/rate")]
    assert rates
    for name in rates:
        envelope = VolumeEnvelope(input_rms, output_rms, len(made), float(name.removeprefix("offline/rate")))
        middle = len(made) // 3
        gain = np.concatenate([envelope.gain(0, middle), envelope.gain(middle, len(made))])
        got = made * gain
        expected = arrays[name]
        step = -(-len(made) // len(expected))
        np.testing.assert_allclose(got[::step], expected, **side["tolerance"])


def test_conformance_live_envelope(conformance_dir: Path) -> None:
    side, arrays = load(conformance_dir / "realtime", "volume_envelope_realtime")
    meaning = side["inputs"]["input_wav"]["meaning"]
    hop = int(meaning.split("zc ")[1].split(",")[0])
    extra = int(meaning.split("extra_frame ")[1].rstrip(")"))
    made = (arrays["infer_wav"] / 512000).astype(np.float32)
    heard = (arrays["input_wav"] / 512).astype(np.float32)[extra : extra + len(made)]
    rates = [name for name in side["expected"] if name.startswith("rate")]
    assert rates
    for name in rates:
        got = made * live_gain(heard, made, hop, float(name.removeprefix("rate")))
        expected = arrays[name]
        step = -(-len(made) // len(expected))
        np.testing.assert_allclose(got[::step], expected, **side["tolerance"])

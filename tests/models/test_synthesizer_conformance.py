"""The synthesizer against the golden vectors: every layout, its intermediate values, the realtime cut, the formants."""

import json
from pathlib import Path

import numpy as np
import torch
from conformance import stated
from torch import Tensor

from anivoice.checkpoints.voice_file import load_voice_file
from anivoice.models.sine_source import sines
from anivoice.models.vits import Synthesizer, build_synthesizer, flow_first_frame

Case = dict[str, Tensor]


def cases_of(npz: Path) -> dict[str, Case]:
    """Arrays grouped by the part of their names before the slash; a file without slashes is one case."""
    cases: dict[str, Case] = {}
    for name, value in np.load(npz).items():
        case, _, field = name.rpartition("/")
        tensor = torch.from_numpy(value)
        cases.setdefault(case, {})[field] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return cases


def load_model(path: Path) -> Synthesizer:
    checkpoint = load_voice_file(path)
    return build_synthesizer(checkpoint.config, checkpoint.state)


def run(model: Synthesizer, case: Case) -> Case:
    """Everything that the vectors know of a case."""
    first, length, resized = 0, case["phone"].shape[1], None
    if "rt" in case:
        first, length, resized = (int(n) for n in case["rt"])
        resized = None if resized < 0 else resized
    flow_first = flow_first_frame(first)
    g = model.speaker(case["sid"])
    prior = model.prior(case["phone"], case.get("pitch"), case.get("lengths"), flow_first)
    z = model.latent(prior, g, case.get("noise_z"))
    cut = z[:, :, first - flow_first :][:, :, :length]
    f0 = case["pitchf"][:, first : first + length] if "pitchf" in case else None
    source_noise = case["noise_src"][:, :, 0] if "noise_src" in case else None
    got = {"m_p": prior.mean, "logs_p": prior.log_std, "z_p": prior.sample(case.get("noise_z"))}
    got["z"] = cut if "rt" in case else z
    z, source = model.decoder_input(cut, f0, None, source_noise, resized)
    got["audio"] = model.dec(z, g, source)[0]
    if f0 is not None:
        got["har"] = model.dec.m_source(f0, None, source_noise)[0, 0]
    return got


def check(case: Case, got: Case, tolerance: dict, label: str) -> None:
    compared = 0
    for field in ("m_p", "logs_p", "z_p", "z", "audio", "har"):
        if field not in case:
            continue
        expected = case[field].reshape(got[field].shape)
        atol = tolerance.get("audio_atol", tolerance["atol"]) if field == "audio" else tolerance["atol"]
        rtol = tolerance["rtol"]
        torch.testing.assert_close(got[field], expected, rtol=rtol, atol=atol, msg=f"{label}/{field} differs")
        compared += 1
    assert compared, f"{label}: nothing to compare"


def side_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.json")) if path.with_suffix(".npz").exists()]


def test_conformance_synthesizer(conformance_dir: Path) -> None:
    tested = 0
    for side_path in side_files(conformance_dir / "synth"):
        side = json.loads(side_path.read_text())
        weights = side_path.parent / side.get("weights", side_path.with_suffix(".pth").name)
        if not weights.exists():
            continue
        model = load_model(weights)
        for name, case in cases_of(side_path.with_suffix(".npz")).items():
            check(case, run(model, case), side["tolerance"], f"{side_path.stem}/{name}")
            tested += 1
    assert tested > 10


def test_conformance_parametrized_weight_norm_is_the_same_voice(conformance_dir: Path) -> None:
    for path in (conformance_dir / "synth").glob("*_applio_parametrized.pth"):
        model = load_model(path)
        plain = path.with_name(path.name.replace("_applio_parametrized", ""))
        for name, tensor in load_model(plain).state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)


def test_conformance_base_generators(conformance_dir: Path) -> None:
    found = side_files(conformance_dir / "base")
    assert found
    for side_path in found:
        side = json.loads(side_path.read_text())
        checkpoint = load_voice_file(side_path.parent / side["weights"])
        true = side["true_config"]
        assert checkpoint.config.upsample_rates == tuple(true[12])
        assert checkpoint.config.sample_rate_hz == true[17]
        assert checkpoint.config.version == side["version"]
        assert checkpoint.config.has_f0 == bool(side["f0"])
        model = build_synthesizer(checkpoint.config, checkpoint.state)
        for name, case in cases_of(side_path.with_suffix(".npz")).items():
            check(case, run(model, case), {"audio_atol": 1e-4, **side["tolerance"]}, f"{side_path.stem}/{name}")


def rate_and_frame(side: dict, case: str) -> tuple[int, int]:
    """Samples per second and per frame."""
    meaning = side["inputs"][f"{case}/f0"]["meaning"]
    return int(stated(meaning, "sr=")), int(stated(meaning, "upp="))


def test_conformance_sine_source(conformance_dir: Path) -> None:
    side = json.loads((conformance_dir / "synth" / "sinegen.json").read_text())
    cases = cases_of(conformance_dir / "synth" / "sinegen.npz")
    tested = 0
    for name, case in cases.items():
        if "f0" not in case:
            continue
        rate_hz, frame_samples = rate_and_frame(side, name)
        clean = sines(case["f0"], rate_hz, frame_samples)[0, :, 0]
        if "sine" in case:
            torch.testing.assert_close(clean, case["sine"], **side["tolerance"])
        if "sine_rvc" in case:
            torch.testing.assert_close(clean, case["sine_rvc"], **side["tolerance"])
        if "sine_tail" in case:
            atol = stated(side["expected"][f"{name}/sine_tail"]["meaning"], "atol ")
            torch.testing.assert_close(clean[-len(case["sine_tail"]) :], case["sine_tail"], rtol=0, atol=atol)
        if "uv" in case:
            voiced = (case["f0"][0] > 0).repeat_interleave(frame_samples)
            assert torch.equal(voiced, case["uv"].bool())
        if "sine_noisy" in case:
            noisy = sines(case["f0"], rate_hz, frame_samples, noise=case["noise"])[0, :, 0]
            torch.testing.assert_close(noisy, case["sine_noisy"], **side["tolerance"])
        tested += 1
    assert tested >= 3


def test_conformance_nine_sines(conformance_dir: Path) -> None:
    side = json.loads((conformance_dir / "synth" / "sinegen.json").read_text())
    cases = cases_of(conformance_dir / "synth" / "sinegen.npz")
    names = [name for name, case in cases.items() if "sine9" in case]
    assert names
    for name in names:
        # "mrf40" has no f0 of its own: it is that of "applio40".
        source = name if "f0" in cases[name] else name.replace("mrf", "applio")
        expected, meaning = cases[name]["sine9"], side["expected"][f"{name}/sine9"]["meaning"]
        got = sines(cases[source]["f0"], *rate_and_frame(side, source), num_sines=expected.shape[1])
        got = got[0, :: int(stated(meaning, "every "))]
        torch.testing.assert_close(got, expected, rtol=0, atol=stated(meaning, "atol "))


def test_the_source_continues_from_a_given_phase() -> None:
    from anivoice.models.sine_source import phase_after

    f0 = torch.rand(1, 40) * 300 + 80
    whole = sines(f0, 48000, 480)[0, :, 0]
    phase = phase_after(f0[:, :25], 48000, 480)[:, -1]
    rest = sines(f0[:, 25:], 48000, 480, initial_phase=phase)[0, :, 0]
    torch.testing.assert_close(rest, whole[25 * 480 :], rtol=0, atol=1e-5)

"""The reference's realtime path (SPEC 11) rebuilt from our stages, against the golden vectors.

Our own live path differs from it by design; what it shares with it is proved here: the synthesizer's cut, the formant
shift, the device resampler, the SOLA offsets, the envelope, the live flavour of the pitch contour.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import blend_like_realtime, cases_with_settings, load_voice, stated
from numpy.typing import NDArray
from torch import Tensor

from anivoice.audio.envelope import live_gain
from anivoice.audio.overlap_add import OverlapAdd
from anivoice.models.rmvpe import build_rmvpe
from anivoice.models.vits import flow_first_frame
from anivoice.stages.pitch.contour import coarse_pitch, interpolate_unvoiced, shift_semitones
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.networks import SaliencePitch
from anivoice.stages.retrieval import Retriever, repeat_frames
from anivoice.stages.sinc_resampler import resample
from anivoice.voices.voice import Voice

CACHE_FRAMES = 1024


class ReferenceInput:
    """The buffers that take the blocks in, at the stream's rate and at 16 kHz (SPEC 11.1, 11.2)."""

    def __init__(self, settings: dict) -> None:
        self.s = settings
        self.zc = settings["zc"]
        self.input_wav = torch.zeros(settings["input_wav_len"])
        self.input_16k = torch.zeros(settings["input_wav_res_len"])
        self.gate_tail = torch.zeros(4 * self.zc)

    def take_in(self, block: Tensor) -> None:
        y = self.gated(block) if self.s["threshold_db"] > -60 else block
        n, n16 = self.s["block_frame"], self.s["block_frame_16k"]
        self.input_wav = torch.cat([self.input_wav[n:], torch.zeros(n)])
        self.input_wav[-len(y) :] = y
        self.input_16k = torch.cat([self.input_16k[n16:], torch.zeros(n16)])
        tail = self.input_wav[-(len(y) + 2 * self.zc) :].unsqueeze(0)
        fresh = resample(tail, self.s["samplerate"], 16000)[0, 160:]
        self.input_16k[-160 * (len(y) // self.zc + 1) :] = fresh

    def gated(self, block: Tensor) -> Tensor:
        zc = self.zc
        y = torch.cat([self.gate_tail, block])
        padded = torch.nn.functional.pad(y, (2 * zc, 2 * zc))
        rms = padded.unfold(0, 4 * zc, zc).square().mean(1).sqrt()[2:]
        self.gate_tail = y[-4 * zc :].clone()
        y = y[2 * zc - zc // 2 :].clone()
        level = 20 * torch.log10(rms.clamp_min(1e-5))
        level = torch.maximum(level, level.max() - 80)
        for i in torch.nonzero(level < self.s["threshold_db"]).flatten().tolist():
            y[i * zc : (i + 1) * zc] = 0
        return y[zc // 2 :]


class ReferenceStream(ReferenceInput):
    """SPEC 11, block by block."""

    def __init__(
        self, settings: dict, voice: Voice, pitch: PitchExtractor, timeline: NDArray[np.float32] | None
    ) -> None:
        super().__init__(settings)
        self.voice, self.pitch, self.timeline = voice, pitch, timeline
        self.retriever = Retriever(voice.index, torch.device("cpu")) if voice.index else None
        self.coarse, self.f0 = torch.zeros(CACHE_FRAMES, dtype=torch.long), torch.zeros(CACHE_FRAMES)
        self.seams = OverlapAdd(settings["block_frame"], settings["sola_buffer_frame"], settings["sola_search_frame"])
        self.block = 0

    def feed(self, block: Tensor) -> tuple[NDArray[np.float32], int, Tensor]:
        """Output, SOLA offset, and what the model stage returned."""
        self.take_in(block)
        if self.voice.config.has_f0:
            self.update_pitch()
        raw = self.infer()
        self.block += 1
        y = raw.unsqueeze(0)
        if self.s["samplerate"] != self.s["tgt_sr"]:
            y = resample(y, self.s["tgt_sr"], self.s["samplerate"])
        made = y[0].numpy()
        if self.s["rms_mix_rate"] < 1:
            start = self.s["extra_frame"]
            heard = self.input_wav[start : start + len(made)].numpy()
            made = (made * live_gain(heard, made, self.zc, self.s["rms_mix_rate"])).astype(np.float32)
        out, offset = self.seams.feed(made)
        return out, offset, raw

    def update_pitch(self) -> None:
        f0 = interpolate_unvoiced(self.contour().double())
        f0 = shift_semitones(f0, self.s["key"] - self.s["formant"]).float()
        coarse = coarse_pitch(f0)
        shift, length = self.s["block_frame_16k"] // 160, len(f0)
        for cache, new in ((self.coarse, coarse), (self.f0, f0)):
            cache[:-shift] = cache[shift:].clone()
            cache[-(length - 4) :] = new[3:-1]

    def contour(self) -> Tensor:
        """What the estimator gives for the newest samples; it may be given instead of computed (SPEC 11.3)."""
        n = self.s["block_frame_16k"] + 800
        if self.s["f0method"] == "rmvpe":
            n = 5120 * ((n - 1) // 5120 + 1) - 160
        if self.timeline is None:
            return self.pitch.estimate(self.input_16k[-n:], self.s["f0method"], realtime=True)
        first = (self.block + 1) * self.s["block_frame_16k"] // 160 - n // 160
        position = np.arange(first, first + n // 160 + 1)
        values = self.timeline[np.clip(position, 0, len(self.timeline) - 1)]
        return torch.from_numpy(np.where(position < 0, 0, values).astype(np.float32))

    def features(self) -> Tensor:
        content = self.voice.encoder.model(self.input_16k.unsqueeze(0), self.voice.config.version)[0]
        if self.retriever is not None and self.s["index_rate"] > 0:
            content = blend_like_realtime(self.retriever, content, self.s["skip_head"], self.s["index_rate"])
        else:
            content = torch.cat([content, content[-1:]])
        return repeat_frames(content)[: len(self.input_16k) // 160]

    def infer(self) -> Tensor:
        model, skip, length = self.voice.model, self.s["skip_head"], self.s["return_length"]
        factor = 2 ** (self.s["formant"] / 12)
        resized = math.ceil(length * factor)
        features = self.features()
        frames = len(features)
        f0, coarse = None, None
        if self.voice.config.has_f0:
            f0 = (self.f0[-frames:] * (resized / length)).unsqueeze(0)[:, skip : skip + length]
            coarse = self.coarse[-frames:].unsqueeze(0)
        g = model.speaker(torch.tensor([0]))
        first = flow_first_frame(skip)
        z = model.latent(model.prior(features.unsqueeze(0), coarse, first_frame=first), g)
        z, source = model.decoder_input(z[:, :, skip - first :][:, :, :length], f0, num_resized_frames=resized)
        y = model.dec(z, g, source)
        rate, target = math.floor(factor * self.s["tgt_sr"] / 100), self.s["tgt_sr"] // 100
        if rate != target:
            y = resample(y[:, : length * rate], rate, target)
        return y[0]


@pytest.mark.parametrize("case", cases_with_settings("realtime"))
def test_conformance_realtime(conformance_dir: Path, h768_hf_dir: Path, rmvpe_tiny_path: Path, case: str) -> None:
    side = json.loads((conformance_dir / "realtime" / f"{case}.json").read_text())
    settings, tolerance = side["settings"], side["tolerance"]["output"]
    arrays = dict(np.load(conformance_dir / "realtime" / f"{case}.npz"))
    voice = load_voice(conformance_dir, settings, h768_hf_dir)
    rmvpe = SaliencePitch(build_rmvpe(torch.load(rmvpe_tiny_path, weights_only=True)))
    cpu = torch.device("cpu")
    pitch = PitchExtractor(conformance_dir, cpu, torch.float32, estimators={"rmvpe": rmvpe})
    stream = ReferenceStream(settings, voice, pitch, arrays.get("f0_timeline"))
    blocks = torch.from_numpy(arrays["input"] / np.float32(32768)).split(settings["block_frame"])
    assert len(blocks) == settings["blocks"]
    outputs, offsets, last = [], [], settings["blocks"] - 1
    kept = {0: 0, 1: 1, last: 2}
    with torch.inference_mode():
        for i, block in enumerate(blocks):
            if i == 1 and "f0_given_block1" in arrays:
                np.testing.assert_array_equal(stream.contour(), arrays["f0_given_block1"])
            out, offset, raw = stream.feed(block)
            outputs.append(out)
            offsets.append(offset)
            if i in kept:
                assert_buffers(stream, arrays, kept[i], stated(tolerance, "input_16k_tail atol "))
            for name, number in (("infer_raw_block1", 1), ("infer_raw_last", last)):
                if i == number:
                    np.testing.assert_allclose(raw, arrays[name], atol=stated(tolerance, "infer_raw atol "))
    assert offsets == arrays["sola_offset"].tolist()
    np.testing.assert_allclose(np.concatenate(outputs), arrays["output"], atol=stated(tolerance, "atol "))


def assert_buffers(stream: ReferenceStream, arrays: dict[str, np.ndarray], row: int, atol: float) -> None:
    """What the stream keeps, against row `row` of what the vectors keep."""
    tail = arrays["input_16k_tail"][row]
    np.testing.assert_allclose(stream.input_16k[-len(tail) :], tail, rtol=0, atol=atol)
    if "cache_pitchf" not in arrays:
        return
    cached = arrays["cache_pitchf"][row]
    np.testing.assert_allclose(stream.f0[-len(cached) :], cached, rtol=1e-3, atol=1e-3)
    difference = np.abs(stream.coarse[-len(cached) :].numpy() - arrays["cache_pitch"][row])
    # A coarse pitch may fall to the other side of a rounding edge where an estimator runs inside.
    assert difference.max() <= int(stream.timeline is None)


def test_conformance_response_threshold(conformance_dir: Path) -> None:
    side = json.loads((conformance_dir / "realtime" / "response_threshold.json").read_text())
    arrays = dict(np.load(conformance_dir / "realtime" / "response_threshold.npz"))
    meanings = {name: entry["meaning"] for name, entry in (side["inputs"] | side["expected"]).items()}
    words = {"zc": "zc ", "block_frame": "block ", "extra": "extra_frame ", "crossfade": "crossfade "}
    numbers = {name: int(stated(side["what"], before)) for name, before in words.items()}
    zc, block_frame = numbers["zc"], numbers["block_frame"]
    length = sum(numbers.values())
    settings = {
        "zc": zc,
        "block_frame": block_frame,
        "block_frame_16k": 160 * block_frame // zc,
        "samplerate": 100 * zc,
        "threshold_db": stated(side["what"], "threshold "),
        "input_wav_len": length,
        "input_wav_res_len": 160 * length // zc,
    }
    reference = ReferenceInput(settings)
    samples = torch.from_numpy(arrays["input"] / np.float32(stated(meanings["input"], "times ")))
    every = int(stated(meanings["input_wav"], "every "))
    silenced = 0
    for i, block in enumerate(samples.split(block_frame)):
        reference.take_in(block)
        expected = arrays["input_wav"][i]
        np.testing.assert_allclose(reference.input_wav[::every], expected, **side["tolerance"])
        tail = arrays["input_16k_tail"][i]
        np.testing.assert_allclose(reference.input_16k[-len(tail) :], tail, **side["tolerance"])
        silenced += int((expected[-block_frame // every :] == 0).sum())
    assert silenced


def test_conformance_device_resampler(conformance_dir: Path) -> None:
    side = json.loads((conformance_dir / "realtime" / "resampler.json").read_text())
    arrays = dict(np.load(conformance_dir / "realtime" / "resampler.npz"))
    names = [name.removesuffix("/x") for name in arrays if name.endswith("/x")]
    assert names
    for name in names:
        rate_in, rate_out = map(int, name.split("_"))
        scale = stated(side["inputs"][f"{name}/x"]["meaning"], "times ")
        x = torch.from_numpy(arrays[f"{name}/x"] / np.float32(scale)).unsqueeze(0)
        np.testing.assert_allclose(resample(x, rate_in, rate_out)[0], arrays[f"{name}/y"], **side["tolerance"])

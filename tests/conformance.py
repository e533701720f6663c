"""Reading the golden vectors: what tests share, and need before fixtures exist."""

import json
import os
import re
from pathlib import Path

import torch
from torch import Tensor

from anivoice.checkpoints.content_file import load_content_encoder_state
from anivoice.checkpoints.index_file import read_index_file
from anivoice.checkpoints.voice_file import load_voice_file
from anivoice.models.hubert import build_hubert
from anivoice.models.vits import build_synthesizer
from anivoice.stages.retrieval import Retriever
from anivoice.voices.voice import SharedEncoder, Voice, VoiceFiles

OWN_VECTORS = Path(__file__).parent / "data" / "conformance"
"""The vectors that lie in the repository. Tests of behaviour take their small voices and their speech from here."""


def vectors_dir() -> Path:
    """The vectors for tests of conformance: our own, or a directory of the same form, ANIVOICE_CONFORMANCE_DIR."""
    override = os.environ.get("ANIVOICE_CONFORMANCE_DIR")
    return Path(override).resolve() if override else OWN_VECTORS


def stated(text: str, before: str) -> float:
    """The number that a text of a side file states right after the words `before`."""
    found = re.search(re.escape(before) + r"([+-]?\d[\d.]*(?:e-?\d+)?)", text)
    assert found, f"no number follows {before!r} in: {text}"
    return float(found[1])


def stated_range(text: str) -> slice:
    """The samples that a text of a side file names, as `samples A:B` or `samples A..B`; all where it names none."""
    found = re.search(r"samples (\d+)(?::|\.\.)(\d+)", text)
    return slice(int(found[1]), int(found[2])) if found else slice(None)


def cases_with_settings(kind: str) -> list[str]:
    """Cases in `kind` (pipeline, realtime) that run a whole model."""
    files = sorted((vectors_dir() / kind).glob("*.json"))
    return [path.stem for path in files if "settings" in json.loads(path.read_text())]


def load_voice(folder: Path, settings: dict, h768_dir: Path) -> Voice:
    """The voice that a case's settings name."""
    path = folder / "synth" / settings["model"]
    checkpoint = load_voice_file(path)
    hubert_dir = h768_dir if settings["hubert"].startswith("h768") else folder / "hubert" / "tiny12_hf_safetensors"
    encoder = SharedEncoder(hubert_dir, (), build_hubert(*load_content_encoder_state(hubert_dir)))
    index = read_index_file(folder / "retrieval" / settings["index"]) if settings["index"] else None
    model = build_synthesizer(checkpoint.config, checkpoint.state)
    return Voice(VoiceFiles(path.stem, path, None, None), (), checkpoint.config, "zero", model, encoder, index)


def load_tone_voice(h768_dir: Path) -> Voice:
    """A real voice whose decoder lets the harmonic source through and nothing else: it gives a tone at f0."""
    voice = load_voice(OWN_VECTORS, {"model": "v2_f0_48k.pth", "hubert": "h768", "index": ""}, h768_dir)
    dec = voice.model.dec
    for name, parameter in dec.named_parameters():
        parameter.data = torch.zeros_like(parameter)
        if name == f"noise_convs.{len(dec.ups) - 1}.weight":
            parameter.data[0, 0, 0] = 1.0
        if name == "conv_post.weight":
            parameter.data[0, 0, 3] = 1.0
        if name == "m_source.l_linear.weight":
            parameter.data[0, 0] = 8.0
    return voice


def write_constant_rmvpe(source: Path, target: Path, salient_bin: int) -> float:
    """An rmvpe that hears the same pitch in everything, made of the file `source`; returns that pitch in Hz."""
    state = torch.load(source, weights_only=True)
    state["fc.1.weight"] = torch.zeros_like(state["fc.1.weight"])
    state["fc.1.bias"] = torch.full_like(state["fc.1.bias"], -20.0)
    state["fc.1.bias"][salient_bin] = 20.0
    torch.save(state, target)
    os.utime(target, ns=(salient_bin, salient_bin))
    return 10 * 2 ** ((20 * salient_bin + 1997.3794084376191) / 1200)


def blend_like_realtime(retriever: Retriever, content: Tensor, skip_head: int, index_rate: float) -> Tensor:
    """Features of a block as the reference's realtime engine makes them: the last frame doubled, retrieval from the
    frame of `skip_head` on, and none at all if any of those frames lacks a neighbour (SPEC 7, 11.4).
    """
    content = torch.cat([content, content[-1:]])
    first = skip_head // 2
    _, ids = retriever.search(content[first:])
    if (ids >= 0).all():
        content[first:] = retriever.blend(content[first:], index_rate)
    return content

"""Voice files: community exports, base generators, safetensors. Any of them becomes one `VoiceCheckpoint`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from anivoice.checkpoints.safe_pickle import float_state, load_torch_file
from anivoice.checkpoints.safe_tensors import load_safetensors, save_safetensors
from anivoice.checkpoints.voice_config_values import check_config, config_from_values, values_from_config
from anivoice.checkpoints.voice_inference import infer_config
from anivoice.checkpoints.voice_layout import describe_misfit, expected_shapes
from anivoice.errors import InvalidModelFile
from anivoice.models.voice_config import UnvoicedF0, Version, Vocoder, VoiceConfig
from anivoice.models.weight_norm import fold_weight_norm

InfoValue = str | int | float

METADATA_KEY = "anivoice"
MAX_INFO_ENTRIES = 64
MAX_INFO_CHARS = 1_000
# Entries that are read elsewhere, or are no description.
_NO_INFO = frozenset(
    {"weight", "model", "config", "f0", "version", "vocoder", "embedder_model", "unvoiced_f0", "optimizer"}
)


@dataclass(frozen=True)
class VoiceCheckpoint:
    """A voice, read and checked.

    `state` holds exactly the tensors `expected_shapes(config)` names: float32, finite, weight norm folded.
    `embedder_model` is the content encoder the file says it was trained with, `unvoiced_f0` the convention for unvoiced
    frames (SPEC 6.2), each None if the file does not say. `info` is the harmless rest: name, author, epoch, ...
    """

    config: VoiceConfig
    state: dict[str, torch.Tensor]
    embedder_model: str | None = None
    unvoiced_f0: UnvoicedF0 | None = None
    info: dict[str, InfoValue] = field(default_factory=dict)


def load_voice_file(path: Path, sample_rate_hz: int | None = None) -> VoiceCheckpoint:
    """Reads a voice: an export of RVC-WebUI or Applio, a base generator, or a `.safetensors` file (SPEC 1).

    `sample_rate_hz` is needed only by base generators whose shapes leave the rate open, and must agree with the file.
    Nothing in the file is executed. Raises InvalidModelFile with one sentence that names the file and the fault.
    """
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else load_torch_file(path)
    try:
        return _build(content, path, sample_rate_hz)
    except ValueError as error:
        raise InvalidModelFile(f"{path.name} cannot be used: {error}.") from error


def save_voice_safetensors(path: Path, checkpoint: VoiceCheckpoint) -> None:
    """Writes a voice as `.safetensors`: its folded tensors, and all else as one JSON object in the metadata."""
    description = {
        **checkpoint.info,
        "config": values_from_config(checkpoint.config),
        "version": checkpoint.config.version,
        "f0": int(checkpoint.config.has_f0),
        "vocoder": checkpoint.config.vocoder,
        "embedder_model": checkpoint.embedder_model,
        "unvoiced_f0": checkpoint.unvoiced_f0,
    }
    save_safetensors(path, checkpoint.state, {METADATA_KEY: json.dumps(description)})


def _read_safetensors(path: Path) -> dict[str, object]:
    """A safetensors voice in the form of a community file: the description's entries, and `weight`."""
    tensors, metadata = load_safetensors(path)
    text = metadata.get(METADATA_KEY)
    try:
        description = (
            {key: _json_or_text(value) for key, value in metadata.items()} if text is None else json.loads(text)
        )
    except (ValueError, RecursionError) as error:
        raise InvalidModelFile(f"{path.name} cannot be used: its metadata are not valid JSON.") from error
    if not isinstance(description, dict) or "config" not in description:
        raise InvalidModelFile(f"{path.name} cannot be used: its metadata hold no config, so it is no voice.")
    return {**description, "weight": tensors}


def _json_or_text(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _build(content: Mapping[str, object], path: Path, sample_rate_hz: int | None) -> VoiceCheckpoint:
    is_export = "weight" in content
    state = content.get("weight" if is_export else "model")
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError("it is no voice: it has neither an entry 'weight' nor an entry 'model' with tensors")
    raw = float_state(state, path)
    spec_shapes = {name: tuple(tensor.shape) for name, tensor in raw.items() if name == "enc_q.pre.weight"}
    needed = {name: tensor for name, tensor in raw.items() if not name.startswith("enc_q.")}
    _refuse_refinegan(content.get("vocoder"), needed)
    folded = fold_weight_norm(needed, path.name)
    shapes = {name: tuple(tensor.shape) for name, tensor in folded.items()}
    config = _read_config(content, shapes) if is_export else infer_config({**shapes, **spec_shapes}, sample_rate_hz)
    check_config(config)
    if sample_rate_hz not in (None, config.sample_rate_hz):
        raise ValueError(f"its sample rate is {config.sample_rate_hz} Hz, not {sample_rate_hz}")
    return VoiceCheckpoint(
        config=config,
        state=_needed_state(folded, shapes, config),
        embedder_model=_optional_text(content.get("embedder_model")),
        unvoiced_f0=_unvoiced_f0(content.get("unvoiced_f0")),
        info=_info(content),
    )


def _needed_state(
    folded: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]], config: VoiceConfig
) -> dict[str, torch.Tensor]:
    expected = expected_shapes(config)
    misfit = describe_misfit(shapes, expected)
    if misfit is not None:
        raise ValueError(f"its tensors do not fit its config: {misfit}")
    state = {name: folded[name].contiguous() for name in expected}
    broken = next((name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken is not None:
        raise ValueError(f"{broken} holds values that are no finite numbers, so the file is broken")
    return state


def _read_config(content: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]]) -> VoiceConfig:
    """The config of an export. The number of speakers is that of the embedding's rows, not config[15] (SPEC 1.2)."""
    speakers = shapes.get("emb_g.weight")
    if not speakers:
        raise ValueError("it is no voice: emb_g.weight is missing")
    return config_from_values(
        content.get("config"),
        version=_version(content.get("version")),
        has_f0=_has_f0(content.get("f0")),
        num_speakers=speakers[0],
        vocoder=_vocoder(content.get("vocoder")),
    )


def _version(value: object) -> Version:
    if value in (None, "v1"):
        return "v1"
    if value == "v2":
        return "v2"
    raise ValueError("its version is neither 'v1' nor 'v2'")


def _has_f0(value: object) -> bool:
    """Missing means yes (SPEC 1.1)."""
    if value is None:
        return True
    if isinstance(value, bool | int | float):
        return bool(value)
    if value in ("0", "1"):
        return value == "1"
    raise ValueError("its entry 'f0' is neither 0 nor 1")


def _vocoder(value: object) -> Vocoder:
    if value in (None, "HiFi-GAN"):
        return "HiFi-GAN"
    if value == "MRF HiFi-GAN":
        return "MRF HiFi-GAN"
    raise ValueError("it uses an unknown vocoder; export the voice with HiFi-GAN")


def _refuse_refinegan(vocoder: object, state: Mapping[str, torch.Tensor]) -> None:
    if vocoder == "RefineGAN" or any(name.startswith("dec.upsample_conv_blocks.") for name in state):
        raise ValueError("it uses the vocoder RefineGAN, which anivoice cannot run; export the voice with HiFi-GAN")


def _unvoiced_f0(value: object) -> UnvoicedF0 | None:
    if value is None:
        return None
    if value == "zero":
        return "zero"
    if value == "interpolate":
        return "interpolate"
    raise ValueError("its entry 'unvoiced_f0' is neither 'zero' nor 'interpolate'")


def _optional_text(value: object) -> str | None:
    return value[:MAX_INFO_CHARS] if isinstance(value, str) and value else None


def _info(content: Mapping[str, object]) -> dict[str, InfoValue]:
    """The plain texts and numbers among the other entries, within bounds."""
    info: dict[str, InfoValue] = {}
    for key, value in content.items():
        if key in _NO_INFO or len(info) >= MAX_INFO_ENTRIES or len(key) > MAX_INFO_CHARS:
            continue
        if isinstance(value, str):
            info[key] = value[:MAX_INFO_CHARS]
        elif isinstance(value, int | float) and abs(value) < 2**63:
            info[key] = value
    return info

"""Content encoder files: fairseq's hubert_base.pt, a Hugging Face directory, one safetensors file (SPEC 4.1)."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from anivoice.checkpoints.content_layout import (
    expected_content_shapes,
    from_fairseq_name,
    read_content_config,
)
from anivoice.checkpoints.safe_pickle import float_state, load_fairseq_checkpoint, load_torch_file
from anivoice.checkpoints.safe_tensors import load_safetensors
from anivoice.checkpoints.small_encoder_file import is_small_encoder, read_small_encoder
from anivoice.checkpoints.voice_layout import describe_misfit
from anivoice.errors import InvalidModelFile
from anivoice.models.content_model import ContentModel
from anivoice.models.hubert import HubertConfig, build_hubert
from anivoice.models.weight_norm import fold_weight_norm

CONFIG_NAME = "config.json"
# In order of preference.
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
METADATA_KEYS = ("anivoice", "config")
MAX_CONFIG_BYTES = 1 << 20
_PREFIX = "hubert."
# The positional convolution is the only one with weight norm, and has one gain per tap of its kernel (SPEC 4).
_POS_CONV_NORM_DIM = 2


def load_content_model(path: Path) -> ContentModel:
    """Any content encoder, in eval mode and without gradients. Raises InvalidModelFile as its readers do."""
    if not path.is_dir() and path.suffix.lower() == ".safetensors":
        state, metadata = load_safetensors(path)
        header = _settings_in_metadata(metadata, path)
        if is_small_encoder(header):
            return read_small_encoder(float_state(state, path), header, path.name)
    return build_hubert(*load_content_encoder_state(path))


def load_content_encoder_state(path: Path) -> tuple[HubertConfig, dict[str, torch.Tensor]]:
    """Reads a content encoder: its sizes, and exactly the parameters of its HubertModel, float32, weight norm folded.

    `path` is a fairseq checkpoint, a directory with config.json and model.safetensors or pytorch_model.bin, or a
    `.safetensors` file with its config as a JSON object under "anivoice" or "config" in the metadata. Nothing in the
    file is executed. Raises InvalidModelFile with one sentence that names the file and the fault.
    """
    if path.is_dir():
        weights_path, settings = _weights_in(path), _read_settings(path / CONFIG_NAME)
        state: Mapping[str, object] = _read_weights(weights_path)
    elif path.suffix.lower() == ".safetensors":
        weights_path = path
        state, metadata = load_safetensors(path)
        settings = _settings_in_metadata(metadata, path)
    else:
        weights_path, settings = path, {}
        state = load_fairseq_checkpoint(path)
    return _build(state, settings, weights_path)


def _build(
    state: Mapping[str, object], settings: Mapping[str, object], path: Path
) -> tuple[HubertConfig, dict[str, torch.Tensor]]:
    named = {from_fairseq_name(name.removeprefix(_PREFIX)): tensor for name, tensor in float_state(state, path).items()}
    folded = fold_weight_norm(named, path.name, norm_dim=_POS_CONV_NORM_DIM)
    shapes = {name: tuple(tensor.shape) for name, tensor in folded.items()}
    try:
        config = read_content_config(shapes, settings)
        expected = expected_content_shapes(config)
        misfit = describe_misfit(shapes, expected)
        if misfit is not None:
            raise ValueError(f"its tensors do not fit together: {misfit}")
        needed = {name: folded[name].contiguous() for name in expected}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in needed.values()):
            raise ValueError("it holds values that are no finite numbers, so the file is broken")
    except ValueError as error:
        raise InvalidModelFile(f"{path.name} cannot be used as content encoder: {error}.") from error
    return config, needed


def _weights_in(directory: Path) -> Path:
    for name in WEIGHT_NAMES:
        if (directory / name).is_file():
            return directory / name
    raise InvalidModelFile(f"{directory.name} is no content encoder: it holds neither {' nor '.join(WEIGHT_NAMES)}.")


def _read_weights(path: Path) -> Mapping[str, object]:
    return load_safetensors(path)[0] if path.suffix == ".safetensors" else load_torch_file(path)


def _read_settings(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES)
    except OSError as error:
        raise InvalidModelFile(f"{path.parent.name}/{path.name} cannot be read: {error.strerror or error}.") from error
    return _parse_settings(text, path)


def _settings_in_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, object]:
    text = next((metadata[key] for key in METADATA_KEYS if key in metadata), None)
    if text is None:
        raise InvalidModelFile(f"{path.name} cannot be used as content encoder: its metadata hold no config.")
    return _parse_settings(text, path)


def _parse_settings(text: str | bytes, path: Path) -> dict[str, object]:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidModelFile(f"{path.name} cannot be used as content encoder: its config is not JSON.") from error
    if not isinstance(settings, dict):
        raise InvalidModelFile(f"{path.name} cannot be used as content encoder: its config is no JSON object.")
    return settings

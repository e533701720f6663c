"""Files of the small content encoder: safetensors, with its sizes and its name in the metadata.

metadata["anivoice"] = {"architecture": "small-encoder", "format": 2, "id": "...", "step": 8000, "config": {...}}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import torch

from anivoice.checkpoints.safe_tensors import save_safetensors
from anivoice.checkpoints.voice_layout import describe_misfit
from anivoice.errors import InvalidModelFile
from anivoice.models.small_encoder import SmallEncoder, SmallEncoderConfig, build_small_encoder

ARCHITECTURE = "small-encoder"
FORMAT = 2
METADATA_KEY = "anivoice"
MAX_SIZE = 4096
"""No size may be larger: a file must not make the server allocate without bound."""


def save_small_encoder(path: Path, model: SmallEncoder, encoder_id: str, step: int) -> None:
    """Writes the weights as float16, which the file's readers make float32 again; replaces `path` as a whole."""
    header = {
        "architecture": ARCHITECTURE,
        "format": FORMAT,
        "id": encoder_id,
        "step": step,
        "config": asdict(model.config),
    }
    unfinished = path.with_suffix(".unfinished")
    state = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    save_safetensors(unfinished, state, {METADATA_KEY: json.dumps(header)})
    unfinished.replace(path)


def is_small_encoder(header: Mapping[str, object]) -> bool:
    return header.get("architecture") == ARCHITECTURE


def read_small_encoder(state: Mapping[str, torch.Tensor], header: Mapping[str, object], name: str) -> SmallEncoder:
    """The encoder of a file's tensors (float32) and header. Raises InvalidModelFile that names the file `name`."""
    try:
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, and this version of anivoice reads {FORMAT}")
        encoder_id = header.get("id")
        if not isinstance(encoder_id, str) or not encoder_id:
            raise ValueError("its header does not say by which id voices call it")
        config = _read_config(header.get("config"))
        expected = {key: tuple(tensor.shape) for key, tensor in _empty(config).state_dict().items()}
        misfit = describe_misfit({key: tuple(tensor.shape) for key, tensor in state.items()}, expected)
        if misfit is not None:
            raise ValueError(f"its tensors do not fit together: {misfit}")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            raise ValueError("it holds values that are no finite numbers, so the file is broken")
    except (TypeError, ValueError) as error:
        raise InvalidModelFile(f"{name} cannot be used as content encoder: {error}.") from error
    return build_small_encoder(config, {key: state[key] for key in expected}, encoder_id)


def _empty(config: SmallEncoderConfig) -> SmallEncoder:
    with torch.device("meta"):
        return SmallEncoder(config)


def _read_config(values: object) -> SmallEncoderConfig:
    """Raises ValueError for anything but the sizes of a network that can be built."""
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(SmallEncoderConfig)}:
        raise ValueError("its header does not hold the sizes of the network")
    right_frames = values["right_frames"]
    numbers = [value for key, value in values.items() if key != "right_frames"]
    if not isinstance(right_frames, list) or not 0 < len(right_frames) <= MAX_SIZE:
        raise ValueError("right_frames must be a list of numbers, one for each layer")
    if not all(type(number) is int and 0 < number <= MAX_SIZE for number in numbers):
        raise ValueError(f"sizes must be whole numbers between 1 and {MAX_SIZE}")
    config = SmallEncoderConfig(**{**values, "right_frames": tuple(right_frames)})
    if not all(type(frames) is int and 0 <= frames < config.conv_kernel for frames in right_frames):
        raise ValueError("right_frames must lie between 0 and the convolutions' kernel")
    if config.width % config.num_heads != 0:
        raise ValueError(f"width {config.width} is no multiple of the {config.num_heads} heads")
    if config.num_phones > config.feature_width:
        raise ValueError("the phones are wider than the features that hold them")
    return config

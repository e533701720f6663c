"""Reading torch checkpoints from strangers. Nothing in a file is ever executed.

Two readers: `load_torch_file` for files of plain tensors and values (voices, RMVPE, Hugging Face's pytorch_model.bin),
and `load_fairseq_checkpoint` for fairseq's, whose pickles are full of foreign classes (SPEC 4.1 b).
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch

from anivoice.checkpoints.pickle_records import Global, Inert, TensorRecord
from anivoice.checkpoints.torch_container import TorchContainer, open_container
from anivoice.errors import InvalidModelFile

HARMLESS_GLOBALS = frozenset(
    {
        f"{module}.{name}"
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("scalar", "_reconstruct")
    }
    | {"numpy.dtype", "numpy.ndarray", "_codecs.encode"}
    | {f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")}
)
"""What trainers leave beside weights: a loss as a NumPy number, the day of the training. Such values are left out, and
nothing of these modules is called.
"""

MAX_DEPTH = 50

_FLOAT_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


def load_torch_file(path: Path) -> dict[str, object]:
    """The dict in a torch checkpoint, tensors on the CPU with their stored dtypes.

    First the file's structure is checked against its size and for foreign classes, then torch's weights-only reader
    loads it. Raises InvalidModelFile, in one sentence that names the file, for anything else than a sound checkpoint.
    """
    with _open(path) as file:
        try:
            container = open_container(file)
            if container.content.foreign_globals:
                _check_harmless(container)
                content = _without_inert(container.content.root, container)
            else:
                file.seek(0)
                content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can fail anywhere inside torch, zipfile or pickle
            raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise InvalidModelFile(f"{path.name} is not a model file: it holds a {type(content).__name__}, not a dict.")
    return {key: value for key, value in content.items() if isinstance(key, str)}


def load_fairseq_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The `model` entry of a fairseq checkpoint: names to tensors with their stored dtypes (SPEC 4.1 b).

    Foreign classes in the file become inert leaves; only the tensors of `model` are read. Raises InvalidModelFile.
    """
    with _open(path) as file:
        try:
            container = open_container(file)
            root = container.content.root
            model = root.get("model") if isinstance(root, dict) else None
            if not isinstance(model, dict):
                raise ValueError("it has no entry 'model' with weights")
            return {
                name: container.tensor(record)
                for name, record in model.items()
                if isinstance(name, str) and isinstance(record, TensorRecord)
            }
        except Exception as error:  # as above
            raise _unreadable(path, error) from error


def float_state(state: Mapping[str, object], path: Path) -> dict[str, torch.Tensor]:
    """The floating-point tensors of a state dict, checked to be real: dense, on the CPU, no larger than their file.

    Dtypes stay as stored. Raises InvalidModelFile for tensors that claim more memory than the file has bytes.
    """
    tensors = {name: value.detach() for name, value in state.items() if isinstance(value, torch.Tensor)}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise InvalidModelFile(f"{path.name} is not a usable model file: {name} is not a plain dense tensor.")
    floats = {name: tensor for name, tensor in tensors.items() if tensor.dtype in _FLOAT_DTYPES}
    if sum(tensor.numel() * tensor.element_size() for tensor in floats.values()) > path.stat().st_size:
        raise InvalidModelFile(f"{path.name} is not a usable model file: its tensors claim to be larger than the file.")
    return floats


def _open(path: Path) -> BinaryIO:
    try:
        return io.BufferedReader(io.FileIO(path))
    except OSError as error:
        raise InvalidModelFile(f"{path.name} cannot be read: {error.strerror or error}.") from error


def _check_harmless(container: TorchContainer) -> None:
    foreign = sorted(container.content.foreign_globals - HARMLESS_GLOBALS)
    if foreign:
        raise ValueError(f"it refers to {foreign[0][:80]}, which has no place in a file of weights")


def _without_inert(value: object, container: TorchContainer, depth: int = 0) -> object:
    """Records as tensors; entries of a dict that are not to be had are left out. Raises ValueError for deep nesting."""
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, TensorRecord):
        return container.tensor(value)
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if not isinstance(item, Inert | Global)}
        return {key: _without_inert(item, container, depth + 1) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        kept_items = [
            _without_inert(item, container, depth + 1) for item in value if not isinstance(item, Inert | Global)
        ]
        return type(value)(kept_items)
    return value


def _unreadable(path: Path, error: Exception) -> InvalidModelFile:
    if isinstance(error, pickle.UnpicklingError):
        # torch's own text advises switching its protection off.
        return InvalidModelFile(f"{path.name} holds more than tensors and plain values; save it with plain torch.save.")
    reason = str(error).split("\n", 1)[0][:200].rstrip(". ") or type(error).__name__
    return InvalidModelFile(f"{path.name} is damaged or not a model file: {reason}.")

"""Reading and writing `.safetensors` files, which hold tensors and texts and nothing that could run."""

from collections.abc import Mapping
from pathlib import Path

import torch

from anivoice.errors import InvalidModelFile


def load_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors (own memory, on the CPU, dtypes as stored) and the metadata. Raises InvalidModelFile."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            # Cloned, because they would be views of the mapped file, which may change or shrink later.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  not a mapping
            return tensors, dict(file.metadata() or {})
    except Exception as error:  # the library's own errors have no common public base
        reason = str(error).split("\n", 1)[0][:200].rstrip(". ")
        raise InvalidModelFile(f"{path.name} is damaged or no safetensors file: {reason}.") from error


def save_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Writes `tensors` with `metadata`."""
    import safetensors.torch

    own = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    safetensors.torch.save_file(own, path, metadata=dict(metadata))

"""Putting a file's tensors into a network, with errors a user understands."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from anivoice.errors import InvalidModelFile


def load_exact(model: nn.Module, state: Mapping[str, object], file_label: str) -> None:
    """Loads `state` as float32 into a network that was built on the meta device. Tensors it has no use for are ignored.

    Raises InvalidModelFile, one sentence that begins with `file_label`, if a tensor is missing, of the wrong shape, or
    holds a value that is not finite. The counters of BatchNorms may be missing: they mean nothing at inference.
    """
    expected = model.state_dict()
    loaded = {name: _checked(name, meta, state, file_label) for name, meta in expected.items()}
    model.load_state_dict(loaded, assign=True)
    model.eval().requires_grad_(False)


def _checked(name: str, meta: Tensor, state: Mapping[str, object], file_label: str) -> Tensor:
    tensor = state.get(name)
    if tensor is None and name.endswith(".num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    if not isinstance(tensor, Tensor):
        raise InvalidModelFile(f"{file_label} lacks the tensor {name}")
    if tensor.shape != meta.shape:
        raise InvalidModelFile(
            f"{file_label} has the tensor {name} of shape {list(tensor.shape)}, where {list(meta.shape)} is right"
        )
    if not tensor.is_floating_point():
        return tensor
    if not bool(torch.isfinite(tensor).all()):
        raise InvalidModelFile(f"{file_label} has values in the tensor {name} that are not finite numbers")
    return tensor.float()

"""Folding weight normalisation into plain weights (SPEC 1.3)."""

from collections.abc import Mapping

import torch

from anivoice.errors import InvalidModelFile

# Both spellings of (gain, direction): torch's old hook and its newer parametrization.
_SPELLINGS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


def fold_weight_norm(state: Mapping[str, torch.Tensor], file_name: str, norm_dim: int = 0) -> dict[str, torch.Tensor]:
    """All tensors of `state` in float32, each gain and direction replaced by the weight `v * g / ||v||`.

    The norm is Euclidean over all dims but `norm_dim` (0 everywhere except HuBERT's positional conv, which has 2), and
    taken after the conversion to float32 (SPEC 14). Plain weights pass. Raises InvalidModelFile if a gain has no
    direction, or the shapes do not belong together.
    """
    folded: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        gain_suffix, direction_suffix = next(
            (s for s in _SPELLINGS if name.endswith(tuple(f".{x}" for x in s))), ("", "")
        )
        if not gain_suffix:
            folded[name] = tensor.to(torch.float32)
        elif name.endswith(direction_suffix):
            module = name.removesuffix(direction_suffix)
            gain = state.get(f"{module}{gain_suffix}")
            folded[f"{module}weight"] = _fold(tensor, gain, norm_dim, f"{file_name}: {name}")
        elif f"{name.removesuffix(gain_suffix)}{direction_suffix}" not in state:
            raise InvalidModelFile(f"{file_name}: {name} is a weight-norm gain without its direction.")
    return folded


def _fold(direction: torch.Tensor, gain: torch.Tensor | None, norm_dim: int, where: str) -> torch.Tensor:
    gain_shape = tuple(size if dim == norm_dim else 1 for dim, size in enumerate(direction.shape))
    if gain is None:
        raise InvalidModelFile(f"{where} is a weight-norm direction without its gain.")
    if direction.dim() <= norm_dim or tuple(gain.shape) != gain_shape:
        raise InvalidModelFile(f"{where} has a gain of shape {list(gain.shape)} instead of {list(gain_shape)}.")
    v, g = direction.to(torch.float32), gain.to(torch.float32)
    other_dims = [dim for dim in range(v.dim()) if dim != norm_dim]
    folded: torch.Tensor = v * (g / torch.linalg.vector_norm(v, dim=other_dims, keepdim=True))
    return folded

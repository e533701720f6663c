"""Networks as a CPU computes short windows fastest.

A window of some twenty frames takes about as long as it takes to bring the weights to the processor, and the usual
matrix products lay them out anew each time. So weights are laid out once, and are half as long where that is native.
Measured on a Zen 4 with windows of 26 frames: FCPE's linear layers take 10.4 ms, laid out once 6.1, in bfloat16 5.6, in
bfloat16 laid out once 3.6.
"""

import copy
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

NATIVE_BF16 = ("avx512_bf16", "amx_bf16")
"""Instructions that multiply bfloat16 without converting it first."""

TYPICAL_ROWS = 16
"""What the weights are laid out for. Any number works."""

MAX_TAPS = 7

M = TypeVar("M", bound=nn.Module)


@cache
def fastest_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it by itself, else float32."""
    # Older torch does not tell.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if any(capabilities.get(name) for name in NATIVE_BF16) else torch.float32


@cache
def can_lay_out() -> bool:
    """Whether torch has oneDNN, and the two calls by which torch.compile uses it."""
    calls = ("_reorder_linear_weight", "_linear_pointwise")
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(hasattr(torch.ops.mkldnn, name) for name in calls)


class DepthwiseTaps(nn.Module):
    """What a depthwise `conv` without padding computes, tap by tap: a third of its time where channels lie next to each
    other in memory. Later changes of its weights are not seen.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self._taps = conv.weight.detach()[:, 0].t().contiguous()
        self._bias = torch.zeros_like(self._taps[0]) if conv.bias is None else conv.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, C, T - kernel + 1]`."""
        frames = x.transpose(1, 2)
        num_frames = frames.shape[1] - len(self._taps) + 1
        y = torch.addcmul(self._bias, frames[:, :num_frames], self._taps[0])
        for i, tap in enumerate(self._taps[1:], 1):
            y.addcmul_(frames[:, i : i + num_frames], tap)
        return y.transpose(1, 2)


class LaidOutConv(nn.Module):
    """What a plain `conv` computes, as one linear layer: half the time where channels lie next to each other in memory.
    Later changes of its weights are not seen.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self._num_taps = conv.kernel_size[0]
        self._linear = LaidOutLinear(conv.weight.detach().permute(0, 2, 1).flatten(1).contiguous(), conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, C', T - kernel + 1]`."""
        frames = x.transpose(1, 2)
        num_frames = frames.shape[1] - self._num_taps + 1
        taps = [frames[:, i : i + num_frames] for i in range(self._num_taps)]
        y: Tensor = self._linear(torch.cat(taps, dim=2))
        return y.transpose(1, 2)


class LaidOutLinear(nn.Module):
    """A linear layer of this `weight` and `bias`. Later changes of them are not seen."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), TYPICAL_ROWS)
        self._bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` -> `[..., out]`."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return y


def for_short_windows(module: M, dtype: torch.dtype = torch.float32) -> M:
    """A copy that computes the same in `dtype`, with faster layers in place of those in it that have one."""
    made = copy.deepcopy(module).to(dtype).requires_grad_(False)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            setattr(parent, name, _faster(child))
    return made


def _faster(layer: nn.Module) -> nn.Module:
    """What can take its place, or itself."""
    if isinstance(layer, nn.Linear) and can_lay_out():
        return LaidOutLinear(layer.weight, layer.bias)
    if not isinstance(layer, nn.Conv1d) or (layer.stride, layer.dilation, layer.padding) != ((1,), (1,), (0,)):
        return layer
    if layer.groups == layer.in_channels == layer.out_channels and layer.kernel_size[0] <= MAX_TAPS:
        return DepthwiseTaps(layer)
    return LaidOutConv(layer) if layer.groups == 1 and can_lay_out() else layer

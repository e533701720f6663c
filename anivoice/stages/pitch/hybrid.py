"""Two contours made one."""

import torch
from torch import Tensor


def mix_contours(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """`[..., P]` Hz each, `weight` 0..1 -> `[..., P]` Hz.

    Where both are voiced: first^(1 - weight) * second^weight. A frame is voiced if the methods' votes, weighted with
    1 - weight and weight, come to at least one half; where only one method is voiced and carries the vote, its value is
    taken.
    """
    first_voiced, second_voiced = first > 0, second > 0
    both = torch.exp2((1.0 - weight) * _log2(first) + weight * _log2(second))
    alone = torch.where(first_voiced, first, second)
    value = torch.where(first_voiced & second_voiced, both, alone)
    vote = (1.0 - weight) * first_voiced + weight * second_voiced
    return torch.where(vote >= 0.5, value, 0.0)


def _log2(f0: Tensor) -> Tensor:
    return torch.where(f0 > 0, f0, 1.0).log2()

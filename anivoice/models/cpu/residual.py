"""A stage's residual blocks on rows (see `fast_conv`), for the CPU decoder.

Shape letters: C channels, L rows of the tile, R segments that are worked on side by side.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anivoice.models.cpu.toom_cook import RowConv, RowLayout, Rows, Scratch, row_conv
from anivoice.models.nsf_hifigan import SLOPE, MrfBlock, MrfLayer, ResidualBlock1, ResidualBlock2

Block = list[list[RowConv]]
"""Groups of convolutions, each with a skip connection around it."""


class GroupPlace(NamedTuple):
    """Which group of which block."""

    block: int
    group: int


def group_places(blocks: list[Block]) -> list[GroupPlace]:
    """All groups in the order in which they are computed."""
    return [GroupPlace(i, j) for i, block in enumerate(blocks) for j in range(len(block))]


class ResidualRows:
    """The residual blocks of a stage on tiles of one length: `load`, `compute` all groups in their order, `sum`."""

    def __init__(self, blocks: list[Block], layout: RowLayout, scratch: Scratch) -> None:
        self.blocks, self.layout, self.scratch = blocks, layout, scratch
        self.x, self.total = Rows(layout), Rows(layout)
        self.hidden = Rows(layout) if any(len(group) > 1 for block in blocks for group in block) else self.x
        self.input = torch.empty(layout.num_rows, layout.num_segments, layout.channels)

    def load(self, x: Tensor) -> None:
        """Takes the blocks' common input `[L, C]`."""
        L, R, C = self.layout[:3]
        x = F.pad(x, (0, 0, 0, self.layout.num_rows * R - L))
        self.input.copy_(x.view(R, -1, C).transpose(0, 1))

    def compute(self, place: GroupPlace) -> None:
        """One group of convolutions."""
        block = self.blocks[place.block]
        # The first block works on the sum itself, each other one beside it.
        out = self.x if place.block else self.total
        if place.group == 0:
            out.inner.copy_(self.input)
        self._add_group(block[place.group], out)
        if place.block and place.group == len(block) - 1:
            self.total.inner.add_(out.inner)

    def sum(self) -> Tensor:
        """Sum over the blocks, `[L, C]`. Rows near false ends are wrong, up to the stage's halo."""
        # Always a copy: the caller still holds it when the next tile is computed in the same memory.
        by_segment = self.total.inner.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        return by_segment.view(-1, self.layout.channels)[: self.layout.num_samples]

    def _add_group(self, group: list[RowConv], x: Rows) -> None:
        """Adds to `x` what a group of convolutions makes of it."""
        y = x
        for conv in group[:-1]:
            y.surround()
            conv(y, self.hidden, SLOPE, self.scratch, add=False)
            y = self.hidden
        y.surround()
        group[-1](y, x, SLOPE, self.scratch, add=True)


def groups_of(block: nn.Module, min_direct_products: int) -> Block:
    """The convolutions of a residual block, in groups with one skip connection around each."""
    groups: list[tuple[nn.Module, ...]]
    if isinstance(block, MrfBlock):
        groups = [(layer.conv1, layer.conv2) for layer in block.layers if isinstance(layer, MrfLayer)]
    elif isinstance(block, ResidualBlock1):
        groups = list(zip(block.convs1, block.convs2, strict=True))
    else:
        assert isinstance(block, ResidualBlock2)
        groups = [(conv,) for conv in block.convs]
    return [[row_conv(conv, min_direct_products) for conv in group if isinstance(conv, nn.Conv1d)] for group in groups]

"""The text encoder's transformer: self-attention with relative positions, post-norm (SPEC 2.1).

Shape letters: B batch, C channels, T frames of 10 ms, H heads, W one-sided window of relative positions.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RELATIVE_WINDOW_FRAMES = 10
"""Relative positions beyond this distance contribute nothing (they are not clipped to the edge entry)."""

MASKED_SCORE = -1e4


class ChannelNorm(nn.Module):
    """Layer norm over the channel axis of `[B, C, T]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, 1e-5).transpose(1, 2)


class RelativeAttention(nn.Module):
    """Multi-head self-attention; keys and values each have a table of relative positions shared by all heads."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_channels = channels // num_heads
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        self.emb_rel_k = nn.Parameter(torch.zeros(1, 2 * RELATIVE_WINDOW_FRAMES + 1, head_channels))
        self.emb_rel_v = nn.Parameter(torch.zeros(1, 2 * RELATIVE_WINDOW_FRAMES + 1, head_channels))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`x` `[B, C, T]`, `mask` `[B, 1, T]` of 0 and 1, or None when all frames are valid. Returns `[B, C, T]`."""
        B, C, T = x.shape
        q, k, v = (
            conv(x).view(B, self.num_heads, C // self.num_heads, T).transpose(2, 3)
            for conv in (self.conv_q, self.conv_k, self.conv_v)
        )
        q = q / math.sqrt(C // self.num_heads)
        scores = self._scores(q, k)
        if mask is not None:
            valid = mask.unsqueeze(2) * mask.unsqueeze(3)
            scores = scores.masked_fill(valid == 0, MASKED_SCORE)
        p = F.softmax(scores, dim=-1)
        out = p @ v + self._band(F.pad(p, (RELATIVE_WINDOW_FRAMES, RELATIVE_WINDOW_FRAMES))) @ self.emb_rel_v
        return self.conv_o(out.transpose(2, 3).reshape(B, C, T))  # type: ignore[no-any-return]

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        """`q·k` plus, within the window, `q·emb_rel_k`. `[B, H, T, T]`."""
        W = RELATIVE_WINDOW_FRAMES
        padded = F.pad(q @ k.transpose(2, 3), (W, W))
        self._band(padded).add_(q @ self.emb_rel_k[0].t())
        return padded[..., W:-W]

    @staticmethod
    def _band(padded: Tensor) -> Tensor:
        """View of the diagonals: `[B, H, T, T + 2W]` -> `[B, H, T, 2W + 1]`, entry `d` of row `i` is column `i + d`."""
        B, H, T, _ = padded.shape
        stride_b, stride_h, stride_t, stride_j = padded.stride()
        return padded.as_strided(
            (B, H, T, 2 * RELATIVE_WINDOW_FRAMES + 1),
            (stride_b, stride_h, stride_t + stride_j, stride_j),
        )


class FeedForward(nn.Module):
    """Two convolutions over time with a ReLU between them."""

    def __init__(self, channels: int, filter_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.padding = ((kernel_size - 1) // 2, kernel_size // 2)
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = F.relu(self.conv_1(F.pad(masked(x, mask), self.padding)))
        y = self.conv_2(F.pad(masked(y, mask), self.padding))
        return masked(y, mask)


class TransformerEncoder(nn.Module):
    """`num_layers` times attention and feed-forward, each followed by `norm(x + y)`."""

    def __init__(self, channels: int, filter_channels: int, num_heads: int, num_layers: int, kernel_size: int) -> None:
        super().__init__()
        layers = range(num_layers)
        self.attn_layers = nn.ModuleList(RelativeAttention(channels, num_heads) for _ in layers)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(FeedForward(channels, filter_channels, kernel_size) for _ in layers)
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = masked(x, mask)
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True)
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = norm_1(x + attention(x, mask))
            x = norm_2(x + feed_forward(x, mask))
        return masked(x, mask)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` with the invalid frames zeroed; `mask` None means that all are valid."""
    return x if mask is None else x * mask

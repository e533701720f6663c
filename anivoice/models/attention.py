"""The text encoder's transformer: self-attention with relative positions, post-norm (SPEC 2.1).

Shape letters: B batch, C channels, T frames of 10 ms, H heads, W one-sided window of relative positions.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.pauses import chunks, point
from anivoice.models.prior_memory import HISTORY_FRAMES, KnownFrames, PriorMemory

RELATIVE_WINDOW_FRAMES = 10
"""Relative positions beyond this distance contribute nothing (they are not clipped to the edge entry)."""

MASKED_SCORE = -1e4

STEP_FRAMES = 512
"""Frames of a long recording whose attention the CPU computes at once."""


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

    def forward(self, x: Tensor, mask: Tensor | None, first_frame: int = 0) -> Tensor:
        """`x` `[B, C, T]`, `mask` `[B, 1, T]` of 0 and 1, or None when all frames are valid.

        Returns the frames from `first_frame` on, `[B, C, T - first_frame]`, which look at all frames.
        """
        C = x.shape[1]
        query_mask = None if mask is None else mask[:, :, first_frame:]
        q = self._heads(self.conv_q(x[:, :, first_frame:])) / math.sqrt(C // self.num_heads)
        k, v = self._heads(self.conv_k(x)), self._heads(self.conv_v(x))
        point()
        parts, start = [], 0
        for queries in chunks(q, STEP_FRAMES, 2):
            stop = start + queries.shape[2]
            scores = self._scores(queries, k, first_frame + start)
            if mask is not None and query_mask is not None:
                valid = query_mask[:, :, start:stop].unsqueeze(3) * mask.unsqueeze(2)
                scores = scores.masked_fill(valid == 0, MASKED_SCORE)
            parts.append(self._mixed(scores, v, first_frame + start))
            start = stop
            point()
        return self._joined(torch.cat(parts, 2))

    def beside(self, x: Tensor, known_keys: Tensor, known_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames `[1, C, T]` that look at each other and at the known ones before them, `[1, H, K, D]` -> themselves
        `[1, C, T]`, and all keys and values `[1, H, K + T, D]`.
        """
        q = self._heads(self.conv_q(x)) / math.sqrt(x.shape[1] // self.num_heads)
        k = torch.cat([known_keys, self._heads(self.conv_k(x))], dim=2)
        v = torch.cat([known_values, self._heads(self.conv_v(x))], dim=2)
        num_known = known_keys.shape[2]
        return self._joined(self._mixed(self._scores(q, k, num_known), v, num_known)), k, v

    def nothing_known(self, num_frames: int) -> Tensor:
        """Zeros `[1, H, num_frames, D]`."""
        return self.emb_rel_k.new_zeros(1, self.num_heads, num_frames, self.emb_rel_k.shape[2])

    def _mixed(self, scores: Tensor, values: Tensor, first_row: int) -> Tensor:
        """`[B, H, Q, T]` and `[B, H, T, D]` -> `[B, H, Q, D]`."""
        p = F.softmax(scores, dim=-1)
        padded = F.pad(p, (RELATIVE_WINDOW_FRAMES, RELATIVE_WINDOW_FRAMES))
        return p @ values + self._band(padded, first_row) @ self.emb_rel_v

    def _joined(self, x: Tensor) -> Tensor:
        """`[B, H, T, C / H]` -> `[B, C, T]`."""
        joined: Tensor = self.conv_o(x.transpose(2, 3).flatten(1, 2))
        return joined

    def _heads(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, H, T, C / H]`."""
        B, C, T = x.shape
        return x.view(B, self.num_heads, C // self.num_heads, T).transpose(2, 3)

    def _scores(self, q: Tensor, k: Tensor, first_row: int) -> Tensor:
        """`q·k` plus, within the window, `q·emb_rel_k`. `[B, H, Q, T]` for the Q queries from frame `first_row` on."""
        W = RELATIVE_WINDOW_FRAMES
        padded = F.pad(q @ k.transpose(2, 3), (W, W))
        self._band(padded, first_row).add_(q @ self.emb_rel_k[0].t())
        return padded[..., W:-W]

    @staticmethod
    def _band(padded: Tensor, first_row: int) -> Tensor:
        """View of the diagonals of the rows from `first_row` on: `[B, H, Q, T + 2W]` -> `[B, H, Q, 2W + 1]`.

        Entry `d` of row `i` is column `first_row + i + d`.
        """
        B, H, Q, _ = padded.shape
        stride_b, stride_h, stride_t, stride_j = padded.stride()
        return padded.as_strided(
            (B, H, Q, 2 * RELATIVE_WINDOW_FRAMES + 1),
            (stride_b, stride_h, stride_t + stride_j, stride_j),
            padded.storage_offset() + first_row * stride_j,
        )


class FeedForward(nn.Module):
    """Two convolutions over time with a ReLU between them."""

    def __init__(self, channels: int, filter_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.padding = ((kernel_size - 1) // 2, kernel_size // 2)
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)

    @property
    def reach_frames(self) -> int:
        """An output frame depends on no input frame further before it than this."""
        return 2 * self.padding[0]

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`[B, C, T]` -> `[B, C, T]`."""
        y = F.relu(self.conv_1(F.pad(masked(x, mask), self.padding)))
        point()
        y = self.conv_2(F.pad(masked(y, mask), self.padding))
        point()
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

    def forward(self, x: Tensor, mask: Tensor | None, first_frame: int = 0) -> Tensor:
        """`x` `[B, C, T]`, `mask` `[B, 1, T]` or None -> the frames from `first_frame` on, made from all frames."""
        x = masked(x, mask)
        last = len(self.attn_layers) - 1
        start = 0
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True)
        for i, (attention, norm_1, feed_forward, norm_2) in enumerate(layers):
            assert isinstance(attention, RelativeAttention)
            assert isinstance(feed_forward, FeedForward)
            if i == last:
                start = max(first_frame - feed_forward.reach_frames, 0)
            mixed = attention(x, mask, start)
            x, mask = x[:, :, start:], None if mask is None else mask[:, :, start:]
            x = norm_1(x + mixed)
            x = norm_2(x + feed_forward(x, mask))
        return masked(x, mask)[:, :, first_frame - start :]

    def stream(self, x: Tensor, memory: PriorMemory, start: int, num_settled: int) -> Tensor:
        """Frames `[1, C, T]` of a stream from its frame `start` on, `memory.start`, of which `num_settled` will not be
        wanted again -> the same frames. They look at what the memory knows and at each other.
        """
        known = memory.layers or [self._nothing_known(i, memory.assumed_frames) for i in range(len(self.attn_layers))]
        kept = []
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, known, strict=True)
        for attention, norm_1, feed_forward, norm_2, before in layers:
            assert isinstance(attention, RelativeAttention)
            assert isinstance(feed_forward, FeedForward)
            mixed, keys, values = attention.beside(x, before.keys, before.values)
            heard = torch.cat([before.mixed, norm_1(x + mixed)], dim=2)
            point()
            num_before, reach = before.mixed.shape[2], feed_forward.reach_frames
            x = norm_2((heard + feed_forward(heard, None))[:, :, num_before:])
            point()
            stop, heard_stop = before.keys.shape[2] + num_settled, num_before + num_settled
            first = max(stop - HISTORY_FRAMES, 0)
            last_heard = heard[:, :, max(heard_stop - reach, 0) : heard_stop].clone()
            kept.append(KnownFrames(keys[:, :, first:stop].clone(), values[:, :, first:stop].clone(), last_heard))
        memory.keep(start + num_settled, kept)
        return x

    def _nothing_known(self, layer: int, num_frames: int) -> KnownFrames:
        """`num_frames` of silence."""
        attention, feed_forward = self.attn_layers[layer], self.ffn_layers[layer]
        assert isinstance(attention, RelativeAttention)
        assert isinstance(feed_forward, FeedForward)
        nothing = attention.nothing_known(num_frames)
        reach = min(num_frames, feed_forward.reach_frames)
        return KnownFrames(nothing, nothing, nothing.new_zeros(1, attention.conv_o.out_channels, reach))


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` with the invalid frames zeroed; `mask` None means that all are valid."""
    return x if mask is None else x * mask

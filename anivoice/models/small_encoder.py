"""The small content encoder: ContentVec's interface at a fraction of its cost, trained by `anivoice train content`.

Log-mel at 100 Hz, two convolutions to 50 Hz, layers of convolution, attention and feed-forward. Context is limited by
construction: frame n depends on samples before 320 n + 1200 (55 ms after its own end) and on about 4.9 s before it, so
a stream that looks 60 ms ahead hears what a whole file would give.

Features `[B, N, 768]`, as wide as community voices expect: how probable each phone is, on a scaled logarithm (phonetic
posteriorgrams; Sun et al., 2016), then zeros. So features mean the same whichever encoder of this kind makes them.
Of a stream, whose windows overlap, the zeros are left out: every window would copy them several times.
Shape letters: B windows, L samples, M mel frames (10 ms), N content frames (20 ms), D width, P phones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.errors import InvalidModelFile
from anivoice.models.cpu.packed_layers import for_short_windows
from anivoice.models.encoder_mel import HOP_SAMPLES, MEAN_FRAMES, NUM_MELS, WINDOW_SAMPLES, MelFrontEnd, RunningMean
from anivoice.models.layer_memory import LayerMemory, Reach, Widths
from anivoice.models.pauses import point
from anivoice.models.stream_window import StreamWindow
from anivoice.models.voice_config import Version

STEM_KERNEL = 5
STRIDE_LEFT, STRIDE_KERNEL = 1, 3
STEM_CONTEXT = 6
"""Mel frames that the stem looks back at, and one more: an even number."""

MIN_LOG_PROBABILITY = -8.0
DROPOUT = 0.1


@dataclass(frozen=True)
class SmallEncoderConfig:
    """Sizes. `right_frames` says how many frames each layer's convolution looks ahead."""

    width: int = 192
    num_heads: int = 4
    ff_width: int = 1152
    conv_kernel: int = 5
    attention_frames: int = 16
    right_frames: tuple[int, ...] = (1, 1, 0, 0, 0)
    num_phones: int = 40
    feature_width: int = 768

    @property
    def num_layers(self) -> int:
        return len(self.right_frames)

    @property
    def lookahead_samples(self) -> int:
        """What a frame depends on after its own 400 samples."""
        return HOP_SAMPLES * (STRIDE_KERNEL - STRIDE_LEFT - 1 + 2 * sum(self.right_frames))

    def num_frames(self, num_samples: int) -> int:
        """Frames of `num_samples` samples at 16 kHz, as of HuBERT: (n - 400) // 320 + 1, none below 400."""
        return max((num_samples - WINDOW_SAMPLES) // (2 * HOP_SAMPLES) + 1, 0)

    def feature_size(self, version: Version) -> int:
        """Width of the features for voices of `version`. Raises InvalidModelFile for v1 voices."""
        if version == "v2":
            return self.feature_width
        raise InvalidModelFile("This content encoder cannot serve v1 voices: it was made for v2 voices only.")


def told_features(logits: Tensor) -> Tensor:
    """`[B, N, P]` -> the phones' log-probabilities scaled to -1..1."""
    log_probabilities = F.log_softmax(logits.float(), dim=2).clamp(min=MIN_LOG_PROBABILITY)
    return (1.0 - 2.0 * log_probabilities / MIN_LOG_PROBABILITY).to(logits.dtype)


class Stem(nn.Module):
    """Log-mel at 100 Hz to the encoder's width at 50 Hz."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mel_conv = nn.Conv1d(NUM_MELS, width, STEM_KERNEL)
        self.stride_conv = nn.Conv1d(width, width, STRIDE_KERNEL, stride=2)
        self.mean_proj = nn.Linear(NUM_MELS, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, difference: Tensor, mean: Tensor) -> Tensor:
        """`[B, M, 80]` twice -> `[B, (M + 1) // 2, D]`."""
        x = F.gelu(self.mel_conv(F.pad(difference.transpose(1, 2), (STEM_KERNEL - 1, 0))))
        x = self.stride_conv(F.pad(x, (STRIDE_LEFT, STRIDE_KERNEL - STRIDE_LEFT - 1))).transpose(1, 2)
        out: Tensor = self.norm(F.gelu(x + self.mean_proj(mean[:, ::2])))
        return out


class ConvModule(nn.Module):
    """Gated pointwise, depthwise over time, pointwise."""

    def __init__(self, width: int, kernel: int, right_frames: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gated = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width)
        self.out = nn.Linear(width, width)
        self.padding = (kernel - 1 - right_frames, right_frames)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, N, D]` -> `[B, N, D]`."""
        gated = F.pad(F.glu(self.gated(self.norm(x)), dim=2), (0, 0, *self.padding))
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.out(F.silu(mixed))
        return out


class LocalAttention(nn.Module):
    """Attention to a frame itself and the `num_frames` - 1 before it, with a learned bias for each distance."""

    def __init__(self, width: int, num_heads: int, num_frames: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_frames = num_frames
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.zeros(num_heads, num_frames))

    def forward(self, x: Tensor, num_known: int = 0) -> Tensor:
        """`[B, N, D]` -> `[B, N - num_known, D]`: what follows `num_known` frames, which are only looked at."""
        query, key, value = self.qkv(self.norm(x)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = self._mask(x.shape[1])[:, num_known:]
        mixed = F.scaled_dot_product_attention(query[:, :, num_known:], key, value, attn_mask=mask)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _mask(self, num_frames: int) -> Tensor:
        """`[H, N, N]`: the bias of the distance, minus infinity where there is no attention."""
        position = torch.arange(num_frames, device=self.distance_bias.device)
        distance = position.unsqueeze(1) - position
        bias = self.distance_bias[:, distance.clamp(0, self.num_frames - 1)]
        return bias.masked_fill((distance < 0) | (distance >= self.num_frames), float("-inf"))


class EncoderLayer(nn.Module):
    """Convolution, attention, feed-forward, each added to what came in."""

    def __init__(self, config: SmallEncoderConfig, right_frames: int) -> None:
        super().__init__()
        self.conv = ConvModule(config.width, config.conv_kernel, right_frames)
        self.attention = LocalAttention(config.width, config.num_heads, config.attention_frames)
        self.ff_norm = nn.LayerNorm(config.width)
        self.ff_in = nn.Linear(config.width, config.ff_width)
        self.ff_out = nn.Linear(config.ff_width, config.width)

    def forward(self, x: Tensor, num_known: int = 0) -> Tensor:
        """`[B, N, D]` -> `[B, N - num_known, D]`: what follows `num_known` frames, which are only looked at."""
        x = x + self._dropped(self.conv(x))
        x = x[:, num_known:] + self._dropped(self.attention(x, num_known))
        return x + self._dropped(self.ff_out(F.silu(self.ff_in(self.ff_norm(x)))))

    def _dropped(self, x: Tensor) -> Tensor:
        """In training a tenth of `x` is left out."""
        return F.dropout(x, DROPOUT, self.training)


class SmallEncoder(nn.Module):
    """Samples at 16 kHz to content features at 50 Hz. `encoder_id` is the name by which voices call it."""

    encoder_id: str | None = None

    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = MelFrontEnd()
        self.running_mean = RunningMean()
        self.stem = Stem(config.width)
        self.layers = nn.ModuleList(EncoderLayer(config, right) for right in config.right_frames)
        self.norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_phones)

    def num_frames(self, num_samples: int) -> int:
        """Frames that `num_samples` samples give."""
        return self.config.num_frames(num_samples)

    def encode_mel(self, mel: Tensor) -> Tensor:
        """Log-mel `[B, M, 80]` float32 -> the phones' logits `[B, N, P]`, N = (M + 1) // 2."""
        dtype = self.to_logits.weight.dtype
        difference, mean = self.running_mean(mel)
        x = self.stem(difference.to(dtype), mean.to(dtype))
        point()
        for layer in self.layers:
            x = layer(x)
            point()
        return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.to_logits(self.norm(x))
        return logits

    def _padded(self, told: Tensor) -> Tensor:
        return F.pad(told, (0, self.config.feature_width - told.shape[2]))

    def forward(self, samples: Tensor, version: Version, window: StreamWindow | None = None) -> Tensor:
        """Content features of mono audio at 16 kHz: `[B, L]` -> `[B, N, 768]`, N = `num_frames(L)`.

        Too few samples for a frame give N = 0. Raises InvalidModelFile for v1 voices.

        `window`: `samples` [1, L] on the CPU are a window of a stream, which has a memory. Its features `[1, N, P]` are
        without the zeros.
        """
        feature_size = self.config.feature_size(version)
        num_frames = self.num_frames(samples.shape[1])
        if window is not None:
            return self._stream(samples, num_frames, window)
        if num_frames == 0:
            return samples.new_zeros(samples.shape[0], 0, feature_size)
        mel = self.front_end(samples)
        point()
        return self._padded(told_features(self.encode_mel(mel)[:, :num_frames]))

    def new_memory(self, assumed_frames: int) -> LayerMemory:
        """For one stream."""
        c = self.config
        widths = Widths(NUM_MELS, c.width, c.num_phones)
        reach = Reach(MEAN_FRAMES + STEM_CONTEXT, c.attention_frames + c.conv_kernel - 2)
        return LayerMemory(widths, reach, c.num_layers, assumed_frames)

    @cached_property
    def stream_layers(self) -> list[nn.Module]:
        """The layers as live streams on a CPU go through them."""
        return [for_short_windows(layer) for layer in self.layers]

    def _stream(self, samples: Tensor, num_frames: int, window: StreamWindow) -> Tensor:
        """What is told of each frame of the window, `[1, N, P]`."""
        memory = window.memory
        assert isinstance(memory, LayerMemory)
        known = memory.recall(window.first_frame, num_frames)
        num_known = known.shape[1]
        if num_known == num_frames:
            return known
        before = memory.mel.shape[1]
        mel = torch.cat([memory.mel, self.front_end(samples[:, 2 * HOP_SAMPLES * num_known :])], dim=1)
        point()
        difference, mean = self.running_mean(mel, max(before - STEM_CONTEXT, 0))
        x = self.stem(difference, mean)[:, min(before, STEM_CONTEXT) // 2 :]
        inputs: list[Tensor] = []
        for layer, earlier in zip(self.stream_layers, memory.inputs, strict=True):
            inputs.append(torch.cat([earlier, x], dim=1))
            x = layer(inputs[-1], earlier.shape[1])
            point()
        told = torch.cat([known, told_features(self._logits(x))], dim=1)[:, :num_frames]
        num_settled = max(self.config.num_frames(window.num_samples - self.config.lookahead_samples), num_known)
        memory.keep(window.first_frame, told[:, :num_settled], mel, inputs, num_settled - num_known)
        return told


def build_small_encoder(config: SmallEncoderConfig, state: Mapping[str, Tensor], encoder_id: str) -> SmallEncoder:
    """The encoder with the weights of `state` (all its parameters and buffers), in eval mode and without gradients."""
    model = SmallEncoder(config)
    model.encoder_id = encoder_id
    model.load_state_dict(dict(state), strict=True)
    return model.eval().requires_grad_(False)

"""The content encoder: HuBERT base / ContentVec (SPEC 4). Parameter names are those of Hugging Face's HubertModel."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from anivoice.errors import InvalidModelFile
from anivoice.models.conv_memory import ConvMemory
from anivoice.models.hubert_features import FeatureExtractor
from anivoice.models.pauses import chunks, in_chunks, point
from anivoice.models.stream_window import StreamWindow
from anivoice.models.voice_config import Version

# The encoder layer whose output v1 voices were trained on (SPEC 4).
V1_LAYER = 9

STEP_FRAMES = 192
"""Frames of a long recording that the CPU puts through a layer at once: some 20 ms at full size."""


@dataclass(frozen=True)
class HubertConfig:
    """Sizes of a content encoder. `proj_size` is None for a file without the projection that v1 voices need."""

    conv_dims: tuple[int, ...]
    conv_kernels: tuple[int, ...]
    conv_strides: tuple[int, ...]
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    pos_conv_kernel_size: int
    pos_conv_groups: int
    proj_size: int | None = 256
    layer_norm_eps: float = 1e-5

    def num_frames(self, num_samples: int) -> int:
        """Frames that `num_samples` samples at 16 kHz give: floor((n - 400) / 320) + 1, none below 400 (SPEC 4)."""
        length = num_samples
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            if length < kernel:
                return 0
            length = (length - kernel) // stride + 1
        return length

    def feature_size(self, version: Version) -> int:
        """Width of the features for voices of `version`. Raises InvalidModelFile if this encoder cannot serve them."""
        if version == "v2":
            return self.hidden_size
        if self.num_layers < V1_LAYER or self.proj_size is None:
            raise InvalidModelFile(
                f"This content encoder cannot serve v1 voices: they need {V1_LAYER} layers and a final projection, "
                f"and it has {self.num_layers} layers and {'no' if self.proj_size is None else 'a'} projection."
            )
        return self.proj_size


class FeatureProjection(nn.Module):
    """Norm and linear map from the extractor's width to the encoder's."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.conv_dims[-1], eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.conv_dims[-1], config.hidden_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, C, N] -> [B, N, H]."""
        projected: torch.Tensor = self.projection(self.layer_norm(features.transpose(1, 2)))
        return projected


class PositionalConv(nn.Module):
    """Convolution over time whose output, added to the input, tells positions."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        kernel, hidden = config.pos_conv_kernel_size, config.hidden_size
        self.conv = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=config.pos_conv_groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, H] -> [B, N, H]. An even kernel gives one frame too many, the last one."""
        conv = self.conv
        reach, kernel = conv.kernel_size[0] // 2, conv.kernel_size[0]
        padded = F.pad(x.transpose(1, 2), (reach, reach))
        parts, start = [], 0
        for chunk in chunks(x, STEP_FRAMES, 1):
            seen = padded[:, :, start : start + chunk.shape[1] + kernel - 1]
            parts.append(F.gelu(F.conv1d(seen, conv.weight, conv.bias, groups=conv.groups)).transpose(1, 2))
            start += chunk.shape[1]
            point()
        return torch.cat(parts, 1)


class Attention(nn.Module):
    """Multi-head self-attention over all frames."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Frames [B, M, H] that look at what was made of all frames, `keys` and `values` [B, N, H] -> [B, M, H]."""
        query, key, value = (
            y.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for y in (self.q_proj(x), keys, values)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: torch.Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear maps with GELU between them."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, H] -> [B, N, H]."""
        out: torch.Tensor = self.output_dense(F.gelu(self.intermediate_dense(x)))
        return out


class EncoderLayer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, H] -> [B, N, H]."""
        keys = in_chunks(self.attention.k_proj, x, 4 * STEP_FRAMES, 1)
        values = in_chunks(self.attention.v_proj, x, 4 * STEP_FRAMES, 1)
        parts = []
        for part in chunks(x, STEP_FRAMES, 1):
            mixed = self.layer_norm(part + self.attention(part, keys, values))
            point()
            parts.append(self.final_layer_norm(mixed + self.feed_forward(mixed)))
            point()
        return torch.cat(parts, 1)


class Encoder(nn.Module):
    """Positions and the transformer layers."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.pos_conv_embed = PositionalConv(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))

    def forward(self, x: torch.Tensor, num_layers: int) -> torch.Tensor:
        """[B, N, H] -> [B, N, H], the output of the first `num_layers` layers (0: the input of the first)."""
        x = self.layer_norm(x + self.pos_conv_embed(x))
        for layer in self.layers[:num_layers]:
            x = layer(x)
        return x


class HubertModel(nn.Module):
    """Samples at 16 kHz to content features at 50 Hz."""

    encoder_id: str | None = None
    """Its files carry no name of their own."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = FeatureExtractor(config.conv_dims, config.conv_kernels, config.conv_strides)
        self.feature_projection = FeatureProjection(config)
        self.encoder = Encoder(config)
        self.final_proj = None if config.proj_size is None else nn.Linear(config.hidden_size, config.proj_size)

    def num_frames(self, num_samples: int) -> int:
        """Frames that `num_samples` samples give."""
        return self.config.num_frames(num_samples)

    def encode_layers(self, samples: torch.Tensor, num_layers: int, window: StreamWindow | None = None) -> torch.Tensor:
        """The hidden state after `num_layers` layers, `hidden_states[num_layers]` elsewhere: [B, T] -> [B, N, H].

        At least 400 samples. `window` as in `forward`.
        """
        if window is None:
            features = self.feature_extractor(samples)
        else:
            features = self.feature_extractor.stream(samples[0], window)
        hidden: torch.Tensor = self.encoder(self.feature_projection(features), num_layers)
        return hidden

    def forward(self, samples: torch.Tensor, version: Version, window: StreamWindow | None = None) -> torch.Tensor:
        """Content features of mono audio at 16 kHz: [B, T] -> [B, N, F], N = `num_frames(T)`.

        Samples are not normalised, and of the dtype and on the device of the weights. v1: layer 9, projected (F 256);
        v2: the last layer (F 768). Too few samples for a frame give N = 0. Raises InvalidModelFile if the encoder
        cannot serve `version` (SPEC 4).

        `window`: `samples` [1, T] on the CPU are a window of a stream, which has a memory.
        """
        feature_size = self.config.feature_size(version)
        if self.num_frames(samples.shape[1]) == 0:
            return samples.new_zeros(samples.shape[0], 0, feature_size)
        if version == "v2" or self.final_proj is None:
            return self.encode_layers(samples, self.config.num_layers, window)
        projected: torch.Tensor = self.final_proj(self.encode_layers(samples, V1_LAYER, window))
        return projected

    def new_memory(self, assumed_frames: int) -> ConvMemory:
        """For one stream."""
        return self.feature_extractor.new_memory(assumed_frames)


def build_hubert(config: HubertConfig, state: Mapping[str, torch.Tensor]) -> HubertModel:
    """The encoder with the weights of `state` (exactly its parameters), in eval mode and without gradients."""
    with torch.device("meta"):
        model = HubertModel(config)
    model.load_state_dict(dict(state), strict=True, assign=True)
    return model.eval().requires_grad_(False)

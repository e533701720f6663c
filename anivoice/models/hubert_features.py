"""The content encoder's convolutions from samples to frames (SPEC 4)."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from anivoice.models.conv_memory import ConvMemory
from anivoice.models.pauses import point
from anivoice.models.stream_window import StreamWindow

# Frames the CPU computes at once: enough to fill its cores, few enough for the activations to stay in its caches.
CPU_CHUNK_FRAMES = 64
SAMPLE_RATE_HZ = 16000


class ConvLayer(nn.Module):
    """One layer: convolution without bias, in the first layer a norm of each channel over time, GELU."""

    def __init__(self, num_in: int, num_out: int, kernel: int, stride: int, *, has_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_in, num_out, kernel, stride, bias=False)
        self.layer_norm = nn.GroupNorm(num_out, num_out, eps=1e-5) if has_norm else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T] -> [B, C', T']."""
        x = self.conv(x)
        return _gelu_in_place(x if self.layer_norm is None else self.layer_norm(x))

    def fold_norm(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the one convolution that does this layer's convolution and norm for `samples` [T].

        The norm needs the mean and variance of each channel over all of time. The channel is linear in the samples
        under the kernel, so they follow from the mean m and covariance S of those: w·m and w·S·w (in float64, where
        nothing cancels). Exact, and no pass over the layer's output, the largest array of the whole encoder.
        """
        windows = self.windows(samples).double()
        mean = windows.mean(0)
        centred = windows - mean
        return self.fold_moments(mean, centred.T @ centred / windows.shape[0])

    def windows(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples [T] under the kernel at each of its places: [R, k]."""
        return samples.unfold(0, self.conv.kernel_size[0], self.conv.stride[0])

    def fold_moments(self, mean: torch.Tensor, covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`fold_norm` from the mean [k] and covariance [k, k], float64."""
        if self.layer_norm is None:
            raise ValueError("this layer has no norm")
        weight = self.conv.weight[:, 0].double()
        variance = ((weight @ covariance) * weight).sum(1).clamp_min(0.0)
        scale = self.layer_norm.weight.double() * torch.rsqrt(variance + self.layer_norm.eps)
        bias = self.layer_norm.bias.double() - (weight @ mean) * scale
        dtype = self.conv.weight.dtype
        return (weight * scale[:, None])[:, None].to(dtype), bias.to(dtype)


class FeatureExtractor(nn.Module):
    """All convolutions: samples at 16 kHz to 50 frames per second."""

    def __init__(self, dims: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        layers = zip((1, *dims), dims, kernels, strides, strict=False)
        self.conv_layers = nn.ModuleList(ConvLayer(*sizes, has_norm=i == 0) for i, sizes in enumerate(layers))
        self.first_stride = strides[0]
        self.hop_samples = math.prod(strides)
        self.window_samples = _receptive_field(kernels, strides)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """[B, T] -> [B, C, N]. At least one frame's samples."""
        if samples.device.type == "cpu":
            items = []
            for item in samples:
                weight, bias = cast(ConvLayer, self.conv_layers[0]).fold_norm(item)
                items.append(torch.cat(self._chunked(item, weight, bias), dim=2))
            return torch.cat(items)
        x = samples[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x

    def stream(self, samples: torch.Tensor, window: StreamWindow) -> torch.Tensor:
        """A window [T] of a stream -> [1, C, N]. What the stream's memory knows is not computed again."""
        first, memory = cast(ConvLayer, self.conv_layers[0]), window.memory
        assert isinstance(memory, ConvMemory)
        hop_places = self.hop_samples // self.first_stride
        memory.hear(first.windows(samples[: window.num_samples]), window.first_frame * hop_places)
        known = memory.recall(window.first_frame, first.conv.out_channels)
        weight, bias = first.fold_moments(*memory.moments())
        fresh = self._chunked(samples[known.shape[2] * self.hop_samples :], weight, bias)
        features = torch.cat((known, *fresh), dim=2)
        num_final = (window.num_samples - self.window_samples) // self.hop_samples + 1
        memory.keep(features[:, :, : max(num_final, 0)], window.first_frame)
        return features

    def new_memory(self, assumed_frames: int) -> ConvMemory:
        """For one stream."""
        num_taps = cast(ConvLayer, self.conv_layers[0]).conv.kernel_size[0]
        return ConvMemory(num_taps, SAMPLE_RATE_HZ / self.first_stride, assumed_frames)

    def _chunked(self, samples: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> list[torch.Tensor]:
        """[T] -> [1, C, n] for chunk after chunk, the same numbers up to rounding: 1.3 times faster on a CPU.

        `weight` and `bias` are those of the first layer with its norm.
        """
        _, *others = self.conv_layers
        num_frames = (samples.shape[0] - self.window_samples) // self.hop_samples + 1
        chunks = []
        for start in range(0, num_frames, CPU_CHUNK_FRAMES):
            last = min(start + CPU_CHUNK_FRAMES, num_frames) - 1
            x = samples[None, None, start * self.hop_samples : last * self.hop_samples + self.window_samples]
            x = _gelu_in_place(F.conv1d(x, weight, bias, stride=self.first_stride))
            for layer in others:
                point()
                x = layer(x)
            chunks.append(x)
            point()
        return chunks


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one frame sees."""
    size = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        size = (size - 1) * stride + kernel
    return size


def _gelu_in_place(x: torch.Tensor) -> torch.Tensor:
    """Exact GELU, overwriting `x`: torch has it, without a public name. Saves a large allocation per layer."""
    result: torch.Tensor = torch.ops.aten.gelu_(x)
    return result

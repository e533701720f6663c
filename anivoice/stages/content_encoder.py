"""The content encoder on a device: what is said, without who says it."""

from pathlib import Path

import torch
from torch import Tensor

from anivoice.checkpoints.content_file import load_content_model
from anivoice.models.content_model import ContentModel
from anivoice.models.stream_window import StreamWindow
from anivoice.models.voice_config import Version
from anivoice.stages.stream_memory import StreamMemory

MAX_SMALL_WEIGHTS = 10_000_000
"""With fewer weights a live window takes less time on one thread than on two (measured: ours with 2.6 million takes 0.7
of it, ContentVec with 94 million 1.6 times as long).
"""


class ContentEncoder:
    """16 kHz audio -> content features at 50 Hz."""

    def __init__(self, model: ContentModel, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model.to(device, dtype)
        self.device = device
        self.dtype = dtype
        self.is_small = sum(weight.numel() for weight in model.parameters()) < MAX_SMALL_WEIGHTS

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> "ContentEncoder":
        """From any file or folder of a content encoder. Raises InvalidModelFile."""
        return cls(load_content_model(path), device, dtype)

    def encode(self, samples: Tensor, version: Version) -> Tensor:
        """`[B, T]` float32 at 16 kHz -> `[B, N, F]` with N = (T - 400) // 320 + 1 and F = 256 (v1) or 768 (v2)."""
        features: Tensor = self.model(samples.to(self.device, self.dtype), version)
        return features

    @property
    def remembers(self) -> bool:
        """Whether `encode_stream` saves anything: where computing is slow, on the CPU."""
        return self.device.type == "cpu" and self.dtype == torch.float32

    def encode_stream(
        self, samples: Tensor, version: Version, memory: StreamMemory, first_frame: int, num_samples: int
    ) -> Tensor:
        """As `encode`, for a window `[1, T]` of a stream that begins at its frame `first_frame` of 20 ms, of which so
        far `num_samples` are there. What `memory` knows of it is not computed again, where that is worth its while.
        """
        if not self.remembers:
            return self.encode(samples, version)
        content = memory.of("content", self.model, lambda: self.model.new_memory(memory.assumed_frames))
        window = StreamWindow(content, first_frame, num_samples)
        features: Tensor = self.model(samples.to(self.dtype), version, window)
        return features

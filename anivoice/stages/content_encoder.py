"""The content encoder on a device: what is said, without who says it."""

from pathlib import Path

import torch
from torch import Tensor

from anivoice.models.checkpoints.content_file import load_content_model
from anivoice.models.content_model import ContentModel
from anivoice.models.steps import Steps, finish
from anivoice.models.voice_config import Version


class ContentEncoder:
    """16 kHz audio -> content features at 50 Hz."""

    def __init__(self, model: ContentModel, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model.to(device, dtype)
        self.device = device
        self.dtype = dtype

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> "ContentEncoder":
        """From any file or folder of a content encoder. Raises InvalidModelFile."""
        return cls(load_content_model(path), device, dtype)

    def encode(self, samples: Tensor, version: Version) -> Tensor:
        """`[B, T]` float32 at 16 kHz -> `[B, N, F]` with N = (T - 400) // 320 + 1 and F = 256 (v1) or 768 (v2)."""
        return finish(self.steps(samples, version))

    def steps(self, samples: Tensor, version: Version) -> Steps[Tensor]:
        """`encode` with pauses."""
        return self.model.steps(samples.to(self.device, self.dtype), version)

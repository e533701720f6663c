"""What the content encoder's convolutions keep of a live stream, whose windows overlap: a frame is computed once.

The first layer's norm is over all of the window's time, so a window by itself would want all its frames anew. Of a
stream the norm's moments are instead carried on, over more time than a window has, and each frame is normed by the
moments of its day. That is no further from a recording heard as a whole than a window by itself is (measured).

Shape letters: R places under the first layer's kernel, k its taps, C channels, N frames of 20 ms.
"""

import math

import torch
from torch import Tensor

HISTORY_SECONDS = 10.0
"""What was heard so long ago counts 1/e in the moments."""


class ConvMemory:
    """Of one stream and one encoder. `assumed_frames`: so many frames of the first window pass as known."""

    def __init__(self, num_taps: int, places_per_second: float, assumed_frames: int = 0) -> None:
        self._assumed_frames = assumed_frames
        self._history_places = HISTORY_SECONDS * places_per_second
        self._next_place = 0
        self._count = 0.0
        self._total = torch.zeros(num_taps, dtype=torch.float64)
        self._products = torch.zeros(num_taps, num_taps, dtype=torch.float64)
        self._features: Tensor | None = None
        self._first_frame = 0

    def hear(self, windows: Tensor, first_place: int) -> None:
        """Samples under the kernel `[R, k]` at the places from `first_place` on. Only what is new counts, and nothing
        before place 0, where the stream begins.
        """
        new = windows[max(self._next_place - first_place, 0) :].double()
        if self._count == 0 and len(new) == 0:
            new = windows.double()
        kept = math.exp(-len(new) / self._history_places)
        self._count = kept * self._count + len(new)
        self._total = kept * self._total + new.sum(0)
        self._products = kept * self._products + new.T @ new
        self._next_place = max(self._next_place, first_place + len(windows))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean `[k]` and covariance `[k, k]` of what was heard, float64."""
        mean = self._total / self._count
        return mean, self._products / self._count - torch.outer(mean, mean)

    def recall(self, first_frame: int, num_channels: int) -> Tensor:
        """Frames `[1, C, N]` of a window that begins at `first_frame`, as many from there on as are known."""
        if self._features is None and self._assumed_frames:
            return torch.zeros(1, num_channels, self._assumed_frames)
        start = first_frame - self._first_frame
        if self._features is None or not 0 <= start < self._features.shape[2]:
            return torch.zeros(1, num_channels, 0)
        return self._features[:, :, start:]

    def keep(self, features: Tensor, first_frame: int) -> None:
        """Frames `[1, C, N]` from `first_frame` on, in place of those of the window before."""
        self._features, self._first_frame = features, first_frame

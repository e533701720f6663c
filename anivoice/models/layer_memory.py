"""What the small content encoder keeps of a live stream, whose windows overlap: a frame is computed once.

Each layer looks back over a fixed number of frames, and the whole encoder ahead over a fixed time. So a frame whose
samples and look-ahead are there is settled, and of every layer only the last inputs before the first frame that is not
are needed to go on. What comes out is what a file would give, whatever the length of the windows.

Shape letters: M mel frames (10 ms), N content frames (20 ms), D width, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Widths(NamedTuple):
    """Of what is kept: bands of a mel frame, the encoder's width, features."""

    num_mels: int
    width: int
    num_features: int


@dataclass(frozen=True)
class Reach:
    """How far back is looked at most: mel frames (even) before the layers, content frames in each layer."""

    mel_frames: int
    layer_frames: int


class LayerMemory:
    """Of one stream and one encoder. `assumed_frames`: so many frames of the first window pass as known."""

    def __init__(self, widths: Widths, reach: Reach, num_layers: int, assumed_frames: int = 0) -> None:
        self._widths, self._reach, self._num_layers = widths, reach, num_layers
        self._assumed_frames = assumed_frames
        self._first_frame: int | None = None
        self.features: Tensor
        self.mel: Tensor
        self.inputs: list[Tensor]
        self._forget()

    def recall(self, first_frame: int, num_frames: int) -> Tensor:
        """Features `[1, N, F]` of a window of `num_frames` that begins at `first_frame`: as many from there on as are
        settled. `mel` and `inputs` are then those before the first that is not.
        """
        if self._first_frame is None and self._assumed_frames:
            self._assume(first_frame)
        start = first_frame - (first_frame if self._first_frame is None else self._first_frame)
        if not 0 <= start <= self.features.shape[1]:
            self._forget()
            start = 0
        return self.features[:, start : start + num_frames]

    def keep(self, first_frame: int, features: Tensor, mel: Tensor, inputs: Sequence[Tensor], num_new: int) -> None:
        """Settled `features` `[1, N, F]` from `first_frame` on, of which `num_new` were not before. `mel` `[1, M, B]`
        and each layer's `inputs` `[1, N, D]` are what was recalled and what came behind it.
        """
        self._first_frame, self.features = first_frame, features
        self.mel = _last(mel, self.mel.shape[1] + 2 * num_new, self._reach.mel_frames)
        self.inputs = [
            _last(now, before.shape[1] + num_new, self._reach.layer_frames)
            for now, before in zip(inputs, self.inputs, strict=True)
        ]

    def _forget(self) -> None:
        self._hold(0, 0, 0)

    def _assume(self, first_frame: int) -> None:
        self._first_frame = first_frame
        self._hold(self._assumed_frames, self._reach.mel_frames, self._reach.layer_frames)

    def _hold(self, num_frames: int, num_mel_frames: int, num_layer_frames: int) -> None:
        """Zeros."""
        widths = self._widths
        self.features = torch.zeros(1, num_frames, widths.num_features)
        self.mel = torch.zeros(1, num_mel_frames, widths.num_mels)
        self.inputs = [torch.zeros(1, num_layer_frames, widths.width) for _ in range(self._num_layers)]


def _last(frames: Tensor, stop: int, num: int) -> Tensor:
    """At most `num` frames before `stop`; a copy, so that the rest can go."""
    return frames[:, max(stop - num, 0) : stop].clone()

"""What FCPE keeps of a live stream, whose windows overlap: most frames are put through its layers once.

Every layer hears 15 frames on both sides. Behind a window's end there is nothing yet, so its last frames are
provisional. A frame is kept, as each layer saw it, when PROVISIONAL_FRAMES more have come than its f0 needed to be
used; the frames after it hear it so from then on. Of speech 92.7 % come within 10 cents of what FCPE gives of the whole
recording; windows by themselves that hear 20 settled frames once more give 92.9 % for 1.7 times the frames.

Shape letters: T frames of 10 ms, C channels, G groups of the first norm, which is over all frames of a window. Of a
stream it is over the last MOMENT_FRAMES.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PROVISIONAL_FRAMES = 4
MOMENT_FRAMES = 100


class FcpeMemory:
    """Of one stream and one network. `assumes`: of the first window all that need not be computed passes as known."""

    def __init__(self, assumes: bool = False) -> None:
        self._assumes = assumes
        self._next_frame: int | None = None
        self._before: list[Tensor] = []
        self._moments: list[Tensor] = []

    def start(self, first_wanted: int, context_frames: int) -> int:
        """The frame to compute from, so that frames from `first_wanted` on come out well: where the memory ends. If
        that is behind `first_wanted` or too long ago, all is forgotten and `context_frames` are heard before it.
        """
        if self._assumes and self._next_frame is None:
            return first_wanted - PROVISIONAL_FRAMES
        if self._next_frame is None or not first_wanted - context_frames <= self._next_frame <= first_wanted:
            self._next_frame, self._before, self._moments = None, [], []
            return first_wanted - context_frames
        return self._next_frame

    def with_earlier_moments(self, moments: Tensor) -> Tensor:
        """Moments of new frames `[T, G, 2]` -> those of the stream's last frames, the new ones last."""
        return torch.cat([*self._moments, moments])[-max(MOMENT_FRAMES, len(moments)) :]

    def extended(self, place: int, x: Tensor, reach_frames: int) -> Tensor:
        """What the layer at `place` hears of new frames `[1, T, C]`: `[1, reach + T + reach, C]`."""
        known = self._before[place] if self._before else x.new_zeros(1, reach_frames, x.shape[2])
        return F.pad(torch.cat([known, x], dim=1), (0, 0, 0, reach_frames))

    def keep(self, start: int, num_settled: int, moments: Tensor, extended: Sequence[tuple[Tensor, int]]) -> None:
        """The first `num_settled` frames computed from `start` on. `moments` as `with_earlier_moments` gave them with
        the settled frames last; `extended` of every place with its reach, in order.
        """
        self._next_frame = start + num_settled
        self._moments = [moments[-MOMENT_FRAMES:].clone()]
        self._before = [x[:, num_settled : num_settled + reach].clone() for x, reach in extended]

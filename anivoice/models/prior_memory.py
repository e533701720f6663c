"""What the text encoder keeps of a live stream, whose windows overlap: a frame is put through its layers once.

Every frame looks at all others, also at those that come later. A frame is kept, as each layer saw it, when the next
window does not want it any more: by then 150 ms or more have come after it. With our own voice the prior then differs
by 8 % (root of the mean square) from that of all there is of the stream so far; a window by itself, which hears 1.3 s
before what is wanted, differs by 15 % and takes twice as long.

Shape letters: C channels, H heads, D channels of a head, K known frames of 10 ms.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

HISTORY_FRAMES = 256
"""Looked back at, at most."""


class KnownFrames(NamedTuple):
    """Of one layer: `keys` and `values` of its attention `[1, H, K, D]`, and `mixed` `[1, C, R]`, what its feed-forward
    heard of the last frames that it reaches back to.
    """

    keys: Tensor
    values: Tensor
    mixed: Tensor


class PriorMemory:
    """Of one stream and one voice. `assumes`: the first window passes for one in the middle of a stream."""

    def __init__(self, assumes: bool = False) -> None:
        self._next_frame: int | None = None
        self.layers: Sequence[KnownFrames] = ()
        self.assumed_frames = HISTORY_FRAMES if assumes else 0
        """Pass as known, and as silence, while nothing is."""

    def start(self, first_wanted: int, context_frames: int) -> int:
        """The frame to compute from, so that frames from `first_wanted` on come out well: where the memory ends. If
        that is behind `first_wanted` or too long ago, all is forgotten and `context_frames` are heard before it.
        """
        if self._next_frame is None and self.assumed_frames:
            return first_wanted
        if self._next_frame is None or not first_wanted - context_frames <= self._next_frame <= first_wanted:
            self._next_frame, self.layers, self.assumed_frames = None, (), 0
            return first_wanted - context_frames
        return self._next_frame

    def keep(self, next_frame: int, layers: Sequence[KnownFrames]) -> None:
        """Everything before `next_frame`, of all layers in order."""
        self._next_frame, self.layers = next_frame, layers

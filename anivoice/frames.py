"""The grid of time that everything shares: 16 kHz, frames of 10 ms, and the layout of a window.

    |<------- context ------->|<- crossfade ->|<- search ->|<---- block ---->|<- look-ahead ->|
                              first_decoded_frame                            end_decoded_frame

A window goes through the networks as a whole; `crossfade + search + block` of it is decoded. Windows of a live stream
overlap: the crossfade and the search are decoded once more. A segment of a file has neither, its neighbours join it.
"""

from dataclasses import dataclass, replace
from functools import cached_property

SAMPLE_RATE_HZ = 16000
FRAME_MS = 10
FRAME_SAMPLES = 160


@dataclass(frozen=True)
class WindowLayout:
    """All lengths of a window, in frames of 10 ms. Windows of one layout can be computed together."""

    block_frames: int
    context_frames: int
    crossfade_frames: int = 0
    lookahead_frames: int = 0
    search_frames: int = 0
    margin_before_frames: int = 0
    margin_after_frames: int = 0
    """Decoded before the crossfade and behind the block, and thrown away: where they are resampled, ends ring."""

    @property
    def block_samples(self) -> int:
        """Input samples at 16 kHz of a block."""
        return self.block_frames * FRAME_SAMPLES

    @cached_property
    def block_s(self) -> float:
        """The block in seconds."""
        return self.block_samples / SAMPLE_RATE_HZ

    @cached_property
    def decode_frames(self) -> int:
        """Frames that are decoded."""
        wanted = self.crossfade_frames + self.search_frames + self.block_frames
        return self.margin_before_frames + wanted + self.margin_after_frames

    @cached_property
    def window_frames(self) -> int:
        """Frames of the whole window: an even number, so that content frames of 20 ms fill it."""
        frames = self.context_frames + self.decode_frames + self.lookahead_frames
        return frames + frames % 2

    @cached_property
    def first_decoded_frame(self) -> int:
        """Within the window."""
        return self.end_decoded_frame - self.decode_frames

    @cached_property
    def end_decoded_frame(self) -> int:
        """First frame after the decoded part."""
        return self.window_frames - self.lookahead_frames

    @cached_property
    def overlaps(self) -> bool:
        """Whether the next window decodes a part of this one again, as those of a live stream do."""
        return self.decode_frames > self.block_frames

    @cached_property
    def problem(self) -> str | None:
        """One sentence that says what cannot be; None if the layout is possible."""
        if self.window_frames < 4:
            return f"a window of {self.window_frames} frames: it must have at least 4"
        if not 0 <= self.first_decoded_frame < self.end_decoded_frame <= self.window_frames:
            first, end = self.first_decoded_frame, self.end_decoded_frame
            return f"frames {first} to {end} do not lie in a window of {self.window_frames}"
        if not 0 < self.block_frames <= self.decode_frames:
            return f"a block of {self.block_frames} frames does not fit {self.decode_frames} decoded ones"
        return None

    def with_margins(self, before_frames: int, after_frames: int) -> "WindowLayout":
        """The same window, of which more is decoded: of its context, and of its look-ahead."""
        return replace(
            self,
            context_frames=self.context_frames - before_frames,
            lookahead_frames=self.lookahead_frames - after_frames,
            margin_before_frames=before_frames,
            margin_after_frames=after_frames,
        )

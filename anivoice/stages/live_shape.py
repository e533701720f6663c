"""The lengths of a live window. No torch here."""

from typing import NamedTuple

SAMPLE_RATE_HZ = 16000
FRAME_SAMPLES = 160


class LiveShape(NamedTuple):
    """A window in frames of 10 ms; windows of one shape can be computed together. `LiveRequest` says what each is."""

    window_frames: int
    first_frame: int
    num_frames: int
    advance_frames: int
    lookahead_frames: int

    @property
    def end_frame(self) -> int:
        """First frame after the decoded part."""
        return self.first_frame + self.num_frames

    @property
    def advance_s(self) -> float:
        """The block in seconds."""
        return self.advance_frames * FRAME_SAMPLES / SAMPLE_RATE_HZ

    @property
    def problem(self) -> str | None:
        """One sentence that says what cannot be; None if the shape is possible."""
        if self.window_frames < 4 or self.window_frames % 2:
            return f"a live window of {self.window_frames} frames: it must be an even number, at least 4"
        if not (0 <= self.first_frame < self.end_frame <= self.window_frames - self.lookahead_frames):
            return f"frames {self.first_frame} to {self.end_frame} do not lie in a window of {self.window_frames}"
        if not (0 < self.advance_frames <= self.num_frames and self.lookahead_frames >= 0):
            return f"an advance of {self.advance_frames} frames does not fit {self.num_frames} decoded ones"
        return None

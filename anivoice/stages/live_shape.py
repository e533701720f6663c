"""The lengths of a live window, and of the part of it that the pitch estimator hears. No torch here."""

from typing import NamedTuple

SAMPLE_RATE_HZ = 16000
FRAME_SAMPLES = 160
PITCH_CONTEXT_FRAMES = 30
"""Settled frames that the estimator hears once more: its first frames are not reliable."""

FCPE_CONTEXT_FRAMES = 20
"""The same for fcpe, which costs by the frame. Of speech 92 % come within 10 cents of what it gives of the whole
recording, and 96.5 % are voiced alike; with 30 or 60 frames it is 93 and 97 %.
"""

RMVPE_CONTEXT_FRAMES = 15
"""The same for rmvpe, at least. The reference leaves it 15 at a block of 160 ms and 6 at its default of 250 ms."""

RMVPE_GRID_FRAMES = 32
"""rmvpe fills its frames up to a multiple of this."""


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


def pitch_window_frames(algo: str, num_unknown_frames: int) -> int:
    """Frames at the window's end that the estimator hears; it may be more than the window has.

    An estimator returns one frame more than it hears; with rmvpe that is a multiple of 32 (SPEC 11.3).
    """
    if "rmvpe" not in algo:
        return num_unknown_frames + (FCPE_CONTEXT_FRAMES if algo == "fcpe" else PITCH_CONTEXT_FRAMES)
    context_frames = RMVPE_CONTEXT_FRAMES if algo == "rmvpe" else PITCH_CONTEXT_FRAMES
    return -(-(num_unknown_frames + context_frames + 1) // RMVPE_GRID_FRAMES) * RMVPE_GRID_FRAMES - 1

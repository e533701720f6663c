"""What the stages keep of a live stream from window to window. No torch here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anivoice.models.fcpe_memory import FcpeMemory
    from anivoice.models.prior_memory import PriorMemory
    from anivoice.models.stream_window import ContentMemory


@dataclass(eq=False)
class StreamMemory:
    """The stream's owner makes it and hands it along with every window; the stages fill it.

    Whatever is asked of it lies at an absolute position: windows may be left out, or computed twice.
    `assumed_frames`: so many content frames of the first window pass as known, and of pitch and prior as much as in the
    middle of a stream, to measure what a window costs there.
    """

    assumed_frames: int = 0
    content: "ContentMemory | None" = None
    content_owner: object = None
    """The encoder whose memory `content` is."""
    pitch: "FcpeMemory | None" = None
    pitch_owner: object = None
    """The network whose memory `pitch` is."""
    prior: "PriorMemory | None" = None
    prior_owner: object = None
    """The voice's network whose memory `prior` is."""

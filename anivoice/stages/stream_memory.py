"""What the stages keep of a live stream from window to window. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class StreamMemory:
    """The stream's owner makes it and hands it along with every window; the stages fill it.

    Whatever is asked of it lies at an absolute position: windows may be left out, or computed twice.
    `assumed_frames`: so many content frames of the first window pass as known, and of pitch and prior as much as in the
    middle of a stream, to measure what a window costs there.
    """

    assumed_frames: int = 0
    _parts: dict[str, tuple[object, Any]] = field(default_factory=dict)

    def of(self, stage: Literal["content", "pitch", "prior"], network: object, make: Callable[[], T]) -> T:
        """What the stage's `network` keeps, made by `make` at first, and anew for another network."""
        owner, part = self._parts.get(stage, (None, None))
        if owner is not network:
            part = make()
            self._parts[stage] = (network, part)
        made: T = part
        return made

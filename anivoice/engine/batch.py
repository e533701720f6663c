"""What the engine is asked for. No torch here.

Shape letters: L samples at 16 kHz, P frames of 10 ms, S output samples per frame.
"""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anivoice.stages.options import ConversionOptions
from anivoice.voices import Voice


@dataclass(frozen=True)
class PitchRequest:
    """f0 of 16 kHz audio `[L]`. The result is float32 `[L // 160 + 1]` in Hz, 0 = unvoiced."""

    samples: NDArray[np.float32]
    algo: str
    f0_method_weight: float


@dataclass(frozen=True)
class SegmentRequest:
    """A window `[L]` through a voice. The result is float32 `[num_frames * S]`.

    `f0_hz` float64 `[>= P]` of the window's frames, shifted and post-processed, None for voices without f0.
    The rest as in `stages.synthesizer.Excitation` and `stages.converter.Window`.
    """

    voice: Voice
    samples: NDArray[np.float32]
    f0_hz: NDArray[np.float64] | None
    first_frame: int
    num_frames: int
    options: ConversionOptions
    initial_phase: float = 0.0
    noise_seed: int | None = None
    noise_frame: int = 0


@dataclass(frozen=True)
class WarmRequest:
    """Place a voice and its networks on the device, so that the first real request finds them there."""

    voice: Voice
    algo: str | None


Request = PitchRequest | SegmentRequest | WarmRequest

_job_numbers = itertools.count(1)


@dataclass(eq=False)
class Job:
    """Work that belongs together, one file's for example. Jobs share the device fairly by the time they were served."""

    number: int = field(default_factory=lambda: next(_job_numbers))
    served_s: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Nobody waits for the results any more: what is queued is dropped, what runs stops at its next step."""
        self.cancelled.set()


@dataclass(eq=False)
class Work:
    """A request in the queue. `deadline_s` (engine clock) only for live work."""

    request: Request
    job: Job
    future: "Future[Any]"
    deadline_s: float | None = None
    steps: Iterator[str] | None = None
    retried: bool = False

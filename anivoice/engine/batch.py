"""What the engine is asked for. No torch here.

Shape letters: L samples at 16 kHz, P frames of 10 ms, S output samples per frame.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anivoice.frames import FRAME_SAMPLES, WindowLayout
from anivoice.models.voice_config import UnvoicedF0, Version
from anivoice.stages.options import ConversionOptions
from anivoice.stages.stream_memory import StreamMemory
from anivoice.voices.voice import Voice

NO_PITCH = "none"
PLAIN_OPTIONS = ConversionOptions()


@dataclass(frozen=True)
class PitchRequest:
    """f0 of 16 kHz audio `[L]`. The result is float32 `[L // 160 + 1]` in Hz, 0 = unvoiced."""

    samples: NDArray[np.float32]
    algo: str
    f0_method_weight: float

    def of_silence(self) -> NDArray[np.float32]:
        """The result where there is nothing to hear."""
        return np.zeros(len(self.samples) // FRAME_SAMPLES + 1, np.float32)


@dataclass(frozen=True)
class WarmRequest:
    """Place a voice and its networks on the device, so that the first real request finds them there."""

    voice: Voice
    algo: str | None


@dataclass(slots=True, eq=False, kw_only=True)
class WindowRequest:
    """A window of 16 kHz audio through a voice; a part of it is wanted. A step of a live stream, or a file's segment.

    Not to be written to: they are made by the thousand in a second, and a frozen one takes three times as long to make.
    """

    voice: Voice
    layout: WindowLayout
    samples: NDArray[np.float32]
    """`[L]`, not to be written to. What is missing up to `layout.window_frames * 160` is silence."""
    window_frame: int
    """Absolute number of the window's first frame; even, negative at the start of a stream or file."""
    f0_known_hz: NDArray[np.float32] | NDArray[np.float64]
    """`[window_frames]` as the estimator gave it, not transposed; valid up to `num_known_frames`."""
    num_known_frames: int
    """Frames whose f0 is settled and is used as it is."""
    initial_phase: float = 0.0
    """Phase of the harmonic source before `layout.first_decoded_frame`, in cycles."""
    noise_seed: int | None = None
    """None: no noise."""
    algo: str = NO_PITCH
    """The pitch method for the frames that are not known; NO_PITCH where there are none."""
    f0_method_weight: float = 0.0
    pitch_change: float = 0.0
    """Semitones."""
    unvoiced_f0: UnvoicedF0 = "zero"
    options: ConversionOptions = PLAIN_OPTIONS
    memory: StreamMemory | None = None
    """The stream's; None: the window stands by itself."""

    @property
    def begins(self) -> bool:
        """Whether the stream begins with its newest block."""
        return self.window_frame + self.layout.window_frames <= self.layout.block_frames

    @property
    def batch_key(self) -> Hashable:
        """Requests with the same key can be computed together."""
        config = self.voice.config
        return (self.layout, id(self.voice.encoder), config.version, config.has_f0, self.algo)

    @property
    def load_key(self) -> "LoadKey":
        """Requests with the same key cost the same."""
        return LoadKey(self.layout, self.voice.config.sample_rate_hz, self.voice.config.version, self.algo)

    def of_silence(self) -> "WindowResult":
        """The result where there is nothing to hear, without a pitch."""
        num_samples = self.layout.decode_frames * self.voice.config.sample_rate_hz // 100
        return WindowResult(np.zeros(num_samples, np.float32), self.f0_known_hz, self.initial_phase)


class LoadKey(NamedTuple):
    """What the cost of a live block depends on."""

    layout: WindowLayout
    sample_rate_hz: int
    version: Version
    algo: str


@dataclass(frozen=True)
class WindowResult:
    """What became of a WindowRequest."""

    waveform: NDArray[np.float32]
    """`[decode_frames * S]` at the voice's rate."""
    f0_hz: NDArray[np.float32] | NDArray[np.float64]
    """`[window_frames]` not transposed: the known ones unchanged, the rest estimated."""
    next_phase: float
    """Phase before `first_decoded_frame + block_frames`: the next request's `initial_phase`."""


@dataclass(frozen=True)
class WarmWindowRequest:
    """Everything that requests like `window` need on the device, made before the first of them comes, for each size of
    a batch. Then a window is computed once for the engine to know what it costs, and its result is the result.
    """

    window: WindowRequest

    @property
    def steady(self) -> WindowRequest:
        """`window` as it is in the middle of a stream, where f0 is known but for a block and the look-ahead."""
        layout = self.window.layout
        num_unknown = layout.block_frames + layout.lookahead_frames + 1
        num_known = max(layout.window_frames - num_unknown, 0)
        memory = StreamMemory(assumed_frames=max(layout.window_frames - layout.block_frames - 2, 0) // 2)
        return replace(self.window, window_frame=0, num_known_frames=num_known, memory=memory)


Request = PitchRequest | WindowRequest | WarmRequest | WarmWindowRequest


class Waiting(Protocol):
    """The device is at it: there is nothing to do for the engine thread until `is_done`."""

    def is_done(self) -> bool: ...


@dataclass(slots=True, eq=False)
class HostWork:
    """What another thread of the host computes. It says itself when it is done."""

    future: Future[Any]
    num_threads: int = 1
    """So many threads of its kind work side by side, each on something else."""
    stage_s: dict[str, float] = field(default_factory=dict)
    """What it took by stage, to be read when it is done."""

    def is_done(self) -> bool:
        return self.future.done()


Stage = str | Waiting
"""What a request's steps yield: the name of the stage that was done, or what they wait for."""

_job_numbers = itertools.count(1)


@dataclass(slots=True, eq=False)
class Job:
    """Work that belongs together, one file's for example. Jobs share the device fairly by the time they were served."""

    number: int = field(default_factory=lambda: next(_job_numbers))
    served_s: float = 0.0
    is_cancelled: bool = False
    pause: Callable[[], None] = field(default=lambda: None, repr=False)
    """The work calls it between two of its steps, on its own thread; it may wait there for others."""

    def cancel(self) -> None:
        """Nobody waits for the results any more: what is queued is dropped, what runs stops at its next step."""
        self.is_cancelled = True


class Promise(Protocol):
    """Where a result goes: a `concurrent.futures.Future`, or what has the same methods, called on the engine thread."""

    def done(self) -> bool: ...

    def set_running_or_notify_cancel(self) -> bool: ...

    def set_result(self, result: object, /) -> None: ...

    def set_exception(self, error: BaseException, /) -> None: ...


@dataclass(slots=True, eq=False)
class Work:
    """A request in the queue. `deadline_s` (engine clock) only for live work."""

    request: Request
    job: Job
    promise: Promise
    deadline_s: float | None = None
    running: bool = False
    """The promise can no longer be cancelled."""
    retried: bool = False
    """It has failed for want of memory, and has been begun anew."""
    alone: bool = False
    """The batch that it was in has failed: it is computed by itself."""

    @property
    def batch_key(self) -> Hashable:
        """Work with the same key can be computed together; None: only by itself."""
        if self.alone or not isinstance(self.request, WindowRequest):
            return None
        return self.request.batch_key


@dataclass(slots=True, eq=False)
class Batch:
    """Work that is computed together; of files always one request. `steps` is None until it has begun."""

    works: list[Work]
    steps: Iterator[Stage] | None = None
    waiting: Waiting | None = None
    waiting_since_s: float = 0.0
    compute_s: float = 0.0
    """Of the device, as far as it could do nothing else."""
    beside_s: float = 0.0
    """What it took beyond that."""
    step_s: float = 0.0
    """Of the device, in its present step."""
    is_at_step: bool = False
    """It has begun a step and not ended it: at a point of that, others may be done."""

    @property
    def deadline_s(self) -> float | None:
        return self.works[0].deadline_s

    @property
    def at_work(self) -> HostWork | None:
        """Another thread's work that is not done."""
        return self.waiting if isinstance(self.waiting, HostWork) and not self.waiting.is_done() else None

    @property
    def is_ready(self) -> bool:
        """Whether there is something to do for the engine thread."""
        return self.waiting is None or self.waiting.is_done()

"""What an idle engine does between the blocks of live streams, so that the device does not fall asleep.

A GPU that has nothing to do lowers its clocks, and then the first block after a silence is late. How much of that this
prevents has not been measured on a real GPU yet.
"""

import logging
from collections.abc import Callable, Generator
from typing import Literal, Protocol

from anivoice.engine.batch import Request, Stage, Waiting, WarmWindowRequest, WindowRequest

logger = logging.getLogger(__name__)

KeepWarmPolicy = Literal["off", "light", "full"]
LIGHT_INTERVAL_S = 0.02
UNNEEDED_INTERVAL_S = 0.5
"""As long as no stream is open, it looks this often whether one has come."""

DEVICE_POLL_S = 0.0005


class WarmRunner(Protocol):
    """What is used of a runner."""

    def steps(self, request: Request) -> Generator[Stage, None, object]: ...

    def nudge(self) -> None:
        """Has the device do something small, without waiting for it."""


class KeepWarm:
    """`light`: a small operation whenever nothing was computed for a while. `full`: a whole block that nobody hears, as
    often as a stream's blocks come. Nothing unless `is_needed`. Belongs to the engine thread; `clock` in seconds.

    It works step by step, and what has begun is given up as soon as there is real work.
    """

    def __init__(
        self, policy: KeepWarmPolicy, runner: WarmRunner, is_needed: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self.policy = policy
        self._runner = runner
        self._is_needed = is_needed
        self._clock = clock
        self._computed_s = 0.0
        self._last: WindowRequest | None = None
        self._steps: Generator[Stage, None, object] | None = None
        self._waiting: Waiting | None = None

    def note(self, request: Request) -> None:
        """A step of real work was done."""
        if self.policy == "off":
            return
        self._computed_s = self._clock()
        self._steps = self._waiting = None
        if isinstance(request, WindowRequest) and request.layout.overlaps:
            self._last = request

    def wait_s(self) -> float | None:
        """For how long there is nothing to do: 0 when `step` is due, None for ever."""
        if self.policy == "off":
            return None
        if not self._is_needed():
            self.forget()
            return UNNEEDED_INTERVAL_S
        if self._steps is None:
            return max(self._computed_s + self._interval_s - self._clock(), 0.0)
        return 0.0 if self._waiting is None or self._waiting.is_done() else DEVICE_POLL_S

    def step(self) -> None:
        """The next piece of what is due. A failure ends it for good, and nothing else."""
        try:
            if self.policy == "full" and self._last is not None:
                self._step_of(self._last)
            else:
                self._runner.nudge()
        except Exception as error:
            logger.warning("the device is not kept warm any more", exc_info=error)
            self.policy = "off"
            self.forget()
        self._computed_s = self._clock()

    def forget(self) -> None:
        """Lets go of the voice."""
        self._last = self._steps = self._waiting = None

    def _step_of(self, request: WindowRequest) -> None:
        if self._steps is None:
            self._steps = self._runner.steps(WarmWindowRequest(request).steady)
        try:
            stage = next(self._steps)
            self._waiting = None if isinstance(stage, str) else stage
        except StopIteration:
            self._steps = self._waiting = None

    @property
    def _interval_s(self) -> float:
        if self.policy == "light" or self._last is None:
            return LIGHT_INTERVAL_S
        return self._last.layout.block_s

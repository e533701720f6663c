"""A live stream whose block lengths may change while it runs.

The stream so far is flushed where the change comes, and another with the new lengths begins at the same sample: nothing
is lost and nothing is heard twice. Both ends are faded over 10 ms, for without what comes next the old one's last
samples and without what came before the new one's first samples would not meet.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anivoice.engine.batch import WindowRequest, WindowResult
from anivoice.frames import WindowLayout
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source, Step

Samples = NDArray[np.float32]


class PartStep(NamedTuple):
    """A block that is due, of one of the stream's parts."""

    part: LiveStream
    step: Step


class SplicedStream:
    """As `LiveStream`, but for `change`, which may bring other lengths, too."""

    def __init__(self, source: Source, seed: int) -> None:
        self._part = LiveStream(source, seed)
        self._ending: list[PartStep] = []
        """Of the parts that have ended; they are given out with the next audio."""

    @property
    def source(self) -> Source:
        """Who speaks now."""
        return self._part.source

    @property
    def parameters(self) -> StreamParameters:
        """Those of the source."""
        return self._part.source.parameters

    @property
    def seed(self) -> int:
        return self._part.seed

    @property
    def geometry(self) -> WindowLayout:
        """The lengths that hold for what comes next."""
        return self._part.geometry

    @property
    def input_rate_hz(self) -> int:
        return self._part.input_rate_hz

    def latency_ms(self, computing_ms: float) -> dict[str, float]:
        """The delay contract: every term, and `total`."""
        return self._part.latency_ms(computing_ms)

    def change(self, source: Source) -> None:
        """From the next step on; with other lengths from the next sample on. Rates stay what they are."""
        old = self._part
        if source.lengths.geometry == old.geometry:
            old.change(source)
            return
        is_speaking = old.is_speaking
        self._ending += [PartStep(old, step) for step in old.flush(fades_out=True)]
        self._part = LiveStream(source, old.seed, fades_in=is_speaking)

    def feed(self, samples: Samples) -> list[PartStep]:
        """Mono samples at the input rate -> the steps that they make due."""
        steps = [PartStep(self._part, step) for step in self._part.feed(samples)]
        return self._take_ending() + steps if self._ending else steps

    def flush(self) -> list[PartStep]:
        """The stream ends here: the steps that bring out the rest. Feeding after it begins a new stream."""
        return self._take_ending() + [PartStep(self._part, step) for step in self._part.flush()]

    def request(self, due: PartStep) -> WindowRequest | None:
        """What the engine shall do for the step; None when there is nothing to compute."""
        return due.part.request(due.step)

    def finish(self, due: PartStep, result: WindowResult | None, failed: bool = False) -> Samples:
        """The samples at the output rate that the step brings; as `LiveStream.finish`."""
        return due.part.finish(due.step, result, failed)

    def drop(self, due: PartStep) -> None:
        """The step is left out; the output goes on behind it."""
        due.part.drop(due.step)

    def _take_ending(self) -> list[PartStep]:
        ending, self._ending = self._ending, []
        return ending

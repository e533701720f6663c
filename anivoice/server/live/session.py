"""One live stream with its voice, its parameters and its counts. It outlives the connections that carry it."""

from collections.abc import Callable
from dataclasses import replace

from anivoice.audio.live_geometry import NamedGeometry
from anivoice.errors import Unavailable
from anivoice.frames import FRAME_MS
from anivoice.live.parameters import LENGTHS, StreamParameters
from anivoice.live.stream import LiveStream, Step
from anivoice.server.live.converter import Converter
from anivoice.server.live.voices import VoiceLease, needs_another_voice
from anivoice.server.state import AppState


class LiveSession:
    """`begin`, then any number of `change`, and blocks for the `converter`; at the end `close`. Belongs to the event
    loop.

    `clock` in seconds is the engine's.
    """

    def __init__(self, state: AppState, clock: Callable[[], float]) -> None:
        self.converter = Converter(state.engine_client, state.metrics, clock)
        self.counts = self.converter.counts
        self._state = state
        self._stream: LiveStream | None = None
        self._lease: VoiceLease | None = None
        self.has_audio = False
        """Samples have come: rates and lengths are settled."""

    @property
    def stream(self) -> LiveStream:
        """After `begin`."""
        assert self._stream is not None
        return self._stream

    @property
    def has_begun(self) -> bool:
        return self._stream is not None

    @property
    def parameters(self) -> StreamParameters:
        """Those that the stream runs with."""
        return self.stream.source.parameters

    @property
    def block_s(self) -> float:
        """Length of a block in seconds."""
        return self.stream.geometry.block_frames * FRAME_MS / 1000

    @property
    def computing_s(self) -> float:
        """What nearly every block takes to compute: as measured lately, else as found at the warm-up."""
        typical_s = self._state.metrics.typical_block_seconds()
        if typical_s is None and self._lease is not None:
            typical_s = self._state.runtime.engine.admission.p99_s(self._lease.load_key)
        return self.block_s / 2 if typical_s is None else typical_s

    async def begin(self, parameters: StreamParameters) -> None:
        """Loads and warms the voice, and takes a share of the device. Again before any audio has come: with other
        rates or lengths. Raises what `Sources.acquire` and `VoiceLease.admit` raise.
        """
        lease = await self._state.sources.acquire(parameters, self._chosen_before(parameters))
        self._exchange(lease)
        self._stream = LiveStream(lease.source, lease.seed)

    async def change(self, parameters: StreamParameters) -> None:
        """From the next step on. Another voice is loaded and warmed while the present one goes on.

        Raises as `begin`; the stream goes on as it was then.
        """
        source = self.stream.source
        if self._state.sources.must_prepare(source.parameters, parameters):
            lease = await self._state.sources.acquire(parameters, source.chosen)
            self._exchange(lease)
            self.stream.change(lease.source)
        else:
            self.stream.change(replace(source, parameters=parameters))

    def drop(self, step: Step) -> None:
        """Leaves the step out."""
        self.stream.drop(step)
        self._state.metrics.count_block("dropped")

    def close(self) -> None:
        """Gives everything back."""
        if self._lease is not None:
            self._lease.release()
        self._lease = None

    def _chosen_before(self, parameters: StreamParameters) -> NamedGeometry | None:
        """A stream that begins again as it was keeps its lengths: its own load is no reason for others."""
        if self._stream is None:
            return None
        source = self._stream.source
        is_other = needs_another_voice(source.parameters, parameters)
        asks_as_before = all(getattr(parameters, name) == getattr(source.parameters, name) for name in LENGTHS)
        return source.chosen if asks_as_before and not is_other else None

    def _exchange(self, lease: VoiceLease) -> None:
        """Keeps `lease` in place of the present one. Raises Unavailable if it is not let in; then the old one stays."""
        old = self._lease
        if old is not None:
            old.leave()
        try:
            lease.admit()
        except Unavailable:
            lease.release()
            if old is not None:
                old.admit()
            raise
        if old is not None:
            old.release()
        self._lease = lease

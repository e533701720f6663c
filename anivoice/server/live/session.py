"""One live stream with its voice, its parameters and its counts. It outlives the connections that carry it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from anivoice.audio.live_geometry import NamedGeometry
from anivoice.errors import Unavailable
from anivoice.frames import FRAME_MS
from anivoice.live.parameters import StreamParameters
from anivoice.live.spliced import PartStep, SplicedStream
from anivoice.live.stream import Source
from anivoice.server.live.converter import Converter
from anivoice.server.live.meter import Meter
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
        self._stream: SplicedStream | None = None
        self._lease: VoiceLease | None = None
        self._changing = asyncio.Lock()
        self.meter = Meter()
        self.has_audio = False
        """Samples have come: rates and lengths are settled."""

    @property
    def stream(self) -> SplicedStream:
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
        """What nearly every block takes to compute: the 99th percentile of its kind, which was measured before the
        stream began; and where others are computed beside it what the last blocks took with their waiting, if longer.
        """
        admission = self._state.runtime.engine.admission
        known_s = None if self._lease is None else admission.p99_s(self._lease.load_key)
        typical_s = (
            self._state.metrics.typical_block_seconds() if admission.num_streams > 1 or known_s is None else None
        )
        return max((value for value in (known_s, typical_s) if value is not None), default=self.block_s / 2)

    async def begin(self, parameters: StreamParameters) -> None:
        """Loads and warms the voice, and takes a share of the device. Again before any audio has come: with other
        rates or lengths. Raises what `Sources.acquire` and `VoiceLease.admit` raise.
        """
        async with self._changing:
            lease = await self._state.sources.acquire(parameters, self._chosen_before(parameters))
            self._exchange(lease)
            self._stream = SplicedStream(lease.source, lease.seed)

    async def change(self, parameters: StreamParameters) -> None:
        """From the next step on. Another voice is loaded and warmed, and other lengths are, while the present ones go
        on.

        Raises as `begin`; the stream goes on as it was then.
        """
        async with self._changing:
            source = self.stream.source
            keeps_lengths = self._asks_as_before(parameters)
            if not keeps_lengths or self._state.sources.must_prepare(source.parameters, parameters):
                lease = await self._state.sources.acquire(parameters, source.chosen if keeps_lengths else None)
                self._exchange(lease)
                self.stream.change(lease.source)
            else:
                self.stream.change(replace(source, parameters=parameters))

    async def adapt(self, move: int) -> bool:
        """Other lengths among those that the parameters leave open: longer ones (1) for a machine that has become slow,
        shorter ones (-1) if it is fast enough again. False: it stays as it is.

        Raises as `begin`, but for lengths that do not fit.
        """
        async with self._changing:
            source = self.stream.source
            open_lengths = source.parameters.geometries
            place = open_lengths.index(source.lengths) if source.lengths in open_lengths else len(open_lengths)
            candidates = open_lengths[place + 1 :] if move > 0 else open_lengths[max(place - 1, 0) : place]
            for lengths in candidates:
                if await self._try(source, lengths, measures=move < 0):
                    return True
            return False

    async def _try(self, source: Source, lengths: NamedGeometry, measures: bool) -> bool:
        lease = await self._state.sources.acquire(source.parameters, lengths, measures)
        if measures and not lease.is_fast_enough:
            lease.release()
            return False
        try:
            self._exchange(lease)
        except Unavailable:
            return False
        self.stream.change(lease.source)
        return True

    def drop(self, step: PartStep) -> None:
        """Leaves the step out."""
        self.stream.drop(step)
        self._state.metrics.count_block("dropped")

    def give_way(self) -> bool:
        """Gives the share of the device back, until `resume`. False if it has none."""
        return self._lease is not None and self._lease.leave()

    def resume(self) -> None:
        """The client is back. Raises Unavailable when there is no share left for it."""
        if self._lease is not None:
            self._lease.admit()

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
        return source.chosen if self._asks_as_before(parameters) and not is_other else None

    def _asks_as_before(self, parameters: StreamParameters) -> bool:
        """Whether the lengths that are asked for are those that were."""
        return parameters.geometries == self.parameters.geometries

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

"""The voice of a live stream: loaded on a worker thread, warmed on the device, held while the stream needs it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from anivoice.audio.live_geometry import NamedGeometry
from anivoice.engine.batch import Job, LoadKey, WarmRequest, WarmWindowRequest, WindowRequest
from anivoice.engine.runtime import Runtime
from anivoice.engine.window_choice import MIN_OBSERVED, WindowChoice
from anivoice.errors import Unavailable
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source
from anivoice.offline import resolve
from anivoice.parameters import ConversionParameters
from anivoice.server.workers import Workers
from anivoice.voices.voice import Voice

WARM_SECONDS = 0.2
WARM_DEADLINE_SECONDS = 2.0
NO_GATE_DB = -120.0
"""Everything passes: what a window costs does not depend on the gate."""

MAX_WARM_KINDS = 8
"""Of one voice that count as warm; the engine keeps recordings of that many (`cuda_graphs`)."""

FIRST_GUESS = {"cuda": 0, "mps": 0, "cpu": 2}
"""By the kind of device, where the search for the shortest windows begins: with those of a preset."""


def parse_stream_parameters(values: Mapping[str, object], defaults: ConversionParameters) -> StreamParameters:
    """Raises InvalidParameter that names each wrong one."""
    parameters = StreamParameters.parse(values, defaults)
    assert isinstance(parameters, StreamParameters)
    return parameters


def needs_another_voice(old: StreamParameters, new: StreamParameters) -> bool:
    """Whether the change from `old` to `new` loads or checks something: a voice, its index, a pitch network."""
    return (
        new.model_name != old.model_name
        or (new.index_rate > 0 and old.index_rate == 0)
        or new.pitch_extraction_algo != old.pitch_extraction_algo
        or new.speaker_id != old.speaker_id
    )


class VoiceLease:
    """A voice that is held, loaded and warm, and the stream's share of the device once it is let in."""

    def __init__(
        self,
        runtime: Runtime,
        source: Source,
        seed: int,
        load_key: LoadKey,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        self._make_room = make_room
        self.source = source
        self.seed = seed
        self.load_key = load_key
        self._runtime = runtime
        self._share = (load_key.layout.block_s, load_key)
        self._is_held = True
        self._is_admitted = False

    def admit(self) -> None:
        """Raises Unavailable if one more such stream does not fit, also when those who are away have made room.
        Reliable streams take what is left over.
        """
        if self._is_admitted or self.source.parameters.mode == "reliable":
            return
        refusal = self._runtime.engine.admission.admit(*self._share)
        while refusal is not None and refusal.retry_after_s is not None and self._make_room():
            refusal = self._runtime.engine.admission.admit(*self._share)
        if refusal is not None:
            raise refusal
        self._is_admitted = True

    @property
    def is_fast_enough(self) -> bool:
        """Whether nearly all blocks of its lengths were computed in time lately."""
        p99_s = self._runtime.engine.admission.p99_s(self.load_key)
        return p99_s is not None and p99_s <= self._runtime.engine.admission.max_load * self._share[0]

    def leave(self) -> bool:
        """Gives the share of the device back. False if it had none."""
        had_share, self._is_admitted = self._is_admitted, False
        if had_share:
            self._runtime.engine.admission.release(*self._share)
        return had_share

    def release(self) -> None:
        """Gives everything back; may be called more than once."""
        self.leave()
        if self._is_held:
            self._runtime.voices.release(self.source.voice)
        self._is_held = False


class Sources:
    """Makes leases. Belongs to the event loop. `make_room` is asked when the device is full: True if somebody who is
    not there has given up a share.
    """

    def __init__(self, runtime: Runtime, workers: Workers, make_room: Callable[[], bool]) -> None:
        self._runtime = runtime
        self._make_room = make_room
        self._workers = workers
        self._first_guess = FIRST_GUESS.get(runtime.runner.device.type, 0)
        self._choice = WindowChoice(lambda: runtime.engine.admission, time.monotonic)
        self._warm: WeakKeyDictionary[Voice, deque[Hashable]] = WeakKeyDictionary()
        self._warming: WeakKeyDictionary[Voice, asyncio.Lock] = WeakKeyDictionary()

    async def acquire(
        self, parameters: StreamParameters, chosen: NamedGeometry | None = None, measures: bool = False
    ) -> VoiceLease:
        """A voice for these parameters, and of the lengths that they allow those that suit this machine, or `chosen`.
        `measures`: what `chosen` costs is found out anew.

        Raises NotFound, InvalidModelFile, InvalidParameter, MissingAsset, Unavailable.
        """
        source, seed = await self._load(parameters)
        try:
            lengths = [chosen] if chosen is not None else parameters.geometries
            source, window = await self._choose([replace(source, chosen=one) for one in lengths], measures)
        except BaseException:
            self._runtime.voices.release(source.voice)
            raise
        return VoiceLease(self._runtime, source, seed, window.load_key, self._make_room)

    async def _load(self, parameters: StreamParameters) -> tuple[Source, int]:
        """The source, its voice held, and the seed of its noise."""
        name = await self._workers.run(self._known_name, parameters.model_name)
        voice = await self._acquire_voice(name, parameters.index_rate > 0)
        try:
            task = await self._workers.run(resolve, voice, parameters, self._runtime.runner.pitch)
            assert task.seed is not None
        except BaseException:
            self._runtime.voices.release(voice)
            raise
        return Source(voice, parameters.model_copy(update={"model_name": name}), task.pitch_algo), task.seed

    def must_prepare(self, old: StreamParameters, new: StreamParameters) -> bool:
        """Whether the change from `old` to `new` takes time, while the stream goes on: `acquire` does it."""
        is_recorded = self._runtime.runner.records and new.formant_shift != old.formant_shift
        return is_recorded or needs_another_voice(old, new)

    async def check(self, parameters: StreamParameters) -> StreamParameters:
        """Loads, and warms the lengths of a preset, so that the stream can begin at once; the parameters with the
        voice's name. Lengths of its own a stream warms when it begins: a set-up that nobody opens costs little.

        Raises as `acquire`, and Unavailable when the device is too busy for one more stream. Whether it is fast enough
        at all shows when the stream begins: only then is it settled how it is to run.
        """
        if parameters.has_own_lengths:
            source, _ = await self._load(parameters)
            self._runtime.voices.release(source.voice)
            return source.parameters
        lease = await self.acquire(parameters)
        try:
            lease.admit()
        except Unavailable as error:
            if error.retry_after_s is not None:
                raise
        finally:
            lease.release()
        return lease.source.parameters

    async def _choose(self, sources: list[Source], measures: bool) -> tuple[Source, WindowRequest]:
        """The source whose blocks are the shortest that fit, warm, and a window of it; without any, the last.

        What is promised is what its blocks were seen to take: a kind that was not measured yet is measured here.
        """
        windows = [await self._workers.run(typical_window, source) for source in sources]
        keys = [window.load_key for window in windows]
        mode = sources[0].parameters.mode
        first_guess = self._first_guess if sources[0].parameters.preset == "auto" else 0
        while True:
            place = self._choice.best(keys, mode == "live", first_guess) if len(sources) > 1 else 0
            must_measure = measures or self._choice.needs_measuring(keys[place])
            if must_measure:
                self._choice.begin_measuring(keys[place], anew=measures)
            await self._make_warm(sources[place], windows[place])
            if not must_measure:
                return sources[place], windows[place]
            for _ in range(MIN_OBSERVED):
                await self._compute(WarmWindowRequest(windows[place]).steady)
            measures = False

    def _known_name(self, name: str | None) -> str:
        library = self._runtime.library
        return library.find(name or library.default_name()).name

    async def _make_warm(self, source: Source, window: WindowRequest) -> None:
        """Streams that come at the same time wait for the first of them: side by side it would cost more than it does
        later, and be needed but once.
        """
        async with self._warming.setdefault(source.voice, asyncio.Lock()):
            await self._warm_up(source, window)

    async def _warm_up(self, source: Source, window: WindowRequest) -> None:
        warm = self._warm.setdefault(source.voice, deque(maxlen=MAX_WARM_KINDS))
        if self._warm_key(source, window) in warm:
            return
        await self._submit(WarmRequest(source.voice, source.algo if source.voice.config.has_f0 else None))
        await self._submit(WarmWindowRequest(window))
        await self._compute(window)
        # Only now is it known which pitch network it was.
        warm.append(self._warm_key(source, window))

    def _warm_key(self, source: Source, window: WindowRequest) -> Hashable:
        p = source.parameters
        version = self._runtime.runner.pitch.version(source.algo) if source.voice.config.has_f0 else None
        return (window.load_key, p.index_rate > 0, p.formant_shift, version)

    async def _compute(self, window: WindowRequest) -> None:
        """For the engine to know what it costs; streams that run go first."""
        await self._submit(window, time.perf_counter() + WARM_DEADLINE_SECONDS)

    async def _submit(
        self, request: WarmRequest | WarmWindowRequest | WindowRequest, deadline_s: float | None = None
    ) -> None:
        job = Job()
        try:
            await asyncio.wrap_future(self._runtime.engine.submit(request, job, deadline_s))
        except asyncio.CancelledError:
            job.cancel()
            raise

    async def _acquire_voice(self, name: str, with_index: bool) -> Voice:
        voices = self._runtime.voices
        loading = asyncio.ensure_future(self._workers.run(voices.acquire, name, with_index))

        def release(loaded: "asyncio.Future[Voice]") -> None:
            if not loaded.cancelled() and loaded.exception() is None:
                voices.release(loaded.result())

        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            loading.add_done_callback(release)
            raise


def typical_window(source: Source) -> WindowRequest:
    """A request as those of the stream will be. Takes a few milliseconds."""
    always_computed = {"passthrough": False, "mute": False, "gate_db": NO_GATE_DB}
    parameters = source.parameters.model_copy(update=always_computed)
    stream = LiveStream(replace(source, parameters=parameters), 0)
    seconds = stream.geometry.block_samples / 16000 + WARM_SECONDS
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * parameters.sample_rate))
    for step in stream.feed(noise.astype(np.float32)):
        request = stream.request(step)
        if request is not None:
            return request
        stream.drop(step)  # short blocks at low rates: the resampler has not given anything yet
    raise RuntimeError("a stream that is neither muted nor passed through computes its noise")

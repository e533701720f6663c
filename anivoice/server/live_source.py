"""The voice of a live stream: loaded on a worker thread, warmed on the device, held while the stream needs it."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from anivoice.engine.batch import Job, WarmRequest
from anivoice.offline import settle
from anivoice.parameters import ConversionParameters
from anivoice.server.services import Services, known_voice
from anivoice.session import Source
from anivoice.stream_settings import StreamParameters
from anivoice.voices import Voice


def parse_stream_parameters(values: Mapping[str, object], defaults: ConversionParameters) -> StreamParameters:
    """Raises InvalidParameter that names each wrong one."""
    parameters = StreamParameters.parse(values, defaults)
    assert isinstance(parameters, StreamParameters)
    parameters.geometry  # noqa: B018 - raises what is wrong about it
    return parameters


async def acquire_source(services: Services, parameters: StreamParameters) -> tuple[Source, int]:
    """Who is to speak, and the seed; the voice is acquired (`release_source`) and warm.

    Raises NotFound, InvalidModelFile, InvalidParameter, MissingAsset, Unavailable.
    """
    name = await services.workers.run(known_voice, services.room.library, parameters.model_name)
    voice = await _acquire(services, name, parameters.index_rate > 0)
    try:
        task = await services.workers.run(settle, voice, parameters, services.room.runner.pitch)
        algo = task.pitch_algo
        warm = WarmRequest(voice, algo if voice.config.has_f0 else None)
        await asyncio.wrap_future(services.room.engine.submit(warm, Job()))
    except BaseException:
        services.room.voices.release(voice)
        raise
    assert task.seed is not None
    return Source(voice, parameters.model_copy(update={"model_name": name}), algo), task.seed


def release_source(services: Services, source: Source) -> None:
    """The stream is done with the voice."""
    services.room.voices.release(source.voice)


def needs_another_voice(old: Source, new: StreamParameters) -> bool:
    """Whether the change from `old` to `new` loads something: a voice, its index, or a pitch network."""
    before = old.parameters
    return (
        new.model_name != before.model_name
        or (new.index_rate > 0 and before.index_rate == 0)
        or new.pitch_extraction_algo != before.pitch_extraction_algo
        or new.speaker_id != before.speaker_id
    )


def with_parameters(source: Source, parameters: StreamParameters) -> Source:
    """The same voice with other parameters."""
    return replace(source, parameters=parameters)


async def _acquire(services: Services, name: str, with_index: bool) -> Voice:
    voices = services.room.voices
    loading = asyncio.ensure_future(services.workers.run(voices.acquire, name, with_index))

    def release(loaded: "asyncio.Future[Voice]") -> None:
        if not loaded.cancelled() and loaded.exception() is None:
            voices.release(loaded.result())

    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        loading.add_done_callback(release)
        raise

"""What a client that asked for events is told, made from the state of its session. The models: events.py."""

from anivoice.audio.wire import WireEncoder
from anivoice.frames import FRAME_MS
from anivoice.offline import index_use
from anivoice.server.live.events import (
    ChangedEvent,
    ComputeMs,
    FlushedEvent,
    LatencyMs,
    OverrunEvent,
    ReadyEvent,
    StatsEvent,
)
from anivoice.server.live.sender import Event
from anivoice.server.live.session import LiveSession

RELIABLE_HINT = (
    "blocks were dropped because they came faster than they are spoken, or the machine was too slow; "
    'with "mode": "reliable" nothing is dropped'
)


def ready_event(live: LiveSession, encoder: WireEncoder, session_id: str) -> Event:
    """The stream can begin; `preset` and the lengths are those that were taken, `latency_ms` is what is promised."""
    parameters, source = live.parameters, live.stream.source
    geometry = live.stream.geometry
    output_format, output_rate_hz = parameters.wire_output
    return ReadyEvent(
        session_id=session_id,
        voice=source.voice.name,
        pitch_method=source.algo,
        index=index_use(source.voice, parameters),
        seed=live.stream.seed,
        mode=parameters.mode,
        sample_rate=parameters.sample_rate,
        format=parameters.format,
        output_sample_rate=output_rate_hz,
        output_format=output_format,
        preset=source.lengths.name,
        block_ms=1000 * live.block_s,
        context_ms=FRAME_MS * geometry.context_frames,
        crossfade_ms=FRAME_MS * geometry.crossfade_frames,
        lookahead_ms=FRAME_MS * geometry.lookahead_frames,
        latency_ms=promised_ms(live, encoder.delay_ms),
    ).content()


def promised_ms(live: LiveSession, encoding_ms: float) -> LatencyMs:
    """The delay that is promised, term by term. `encoding_ms`: what the format of the answer adds."""
    terms_ms = live.stream.latency_ms(1000 * live.computing_s)
    if encoding_ms:
        terms_ms["encoding"] = encoding_ms
        terms_ms["total"] += encoding_ms
    return LatencyMs.model_validate({name: round(ms, 3) for name, ms in terms_ms.items()})


def stats_event(live: LiveSession, num_queued: int) -> Event:
    """What became of the blocks so far; percentiles of the last ones."""
    counts = live.counts
    return StatsEvent(
        compute_ms=ComputeMs.model_validate(counts.compute_ms()),
        blocks=counts.num_blocks,
        dropped_blocks=counts.num_dropped,
        late=counts.num_late,
        failed=counts.num_failed,
        queued=num_queued,
    ).content()


def changed_event(live: LiveSession, encoder: WireEncoder) -> Event:
    """The parameters that hold from the next block on."""
    return ChangedEvent(
        voice=live.stream.source.voice.name,
        pitch_method=live.stream.source.algo,
        parameters=live.parameters.model_dump(exclude_unset=True),
        preset=live.stream.source.lengths.name,
        block_ms=1000 * live.block_s,
        latency_ms=promised_ms(live, encoder.delay_ms),
    ).content()


def overrun_event(live: LiveSession) -> Event:
    """Blocks had to be dropped."""
    return OverrunEvent(dropped_blocks=live.counts.num_dropped).content()


def flushed_event(live: LiveSession) -> Event:
    """Everything that came before has been sent."""
    counts = live.counts
    hint = RELIABLE_HINT if counts.num_dropped else None
    return FlushedEvent(blocks=counts.num_blocks, dropped_blocks=counts.num_dropped, hint=hint).content()

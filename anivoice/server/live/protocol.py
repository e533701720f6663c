"""What a client that asked for events is told."""

from anivoice.audio.live_geometry import FRAME_MS
from anivoice.audio.wire import WireEncoder
from anivoice.server.live.sender import Event
from anivoice.server.live.session import LiveSession


def ready_event(live: LiveSession, encoder: WireEncoder, session_id: str) -> Event:
    """The stream can begin; `preset` and the lengths are those that were taken, `latency_ms` is what is promised."""
    parameters, source = live.parameters, live.stream.source
    geometry = live.stream.geometry
    latency_ms = live.stream.latency_ms(1000 * live.computing_s)
    if encoder.delay_ms:
        latency_ms["encoding"] = encoder.delay_ms
        latency_ms["total"] += encoder.delay_ms
    output_format, output_rate_hz = parameters.wire_output
    return {
        "event": "ready",
        "session_id": session_id,
        "voice": source.voice.name,
        "pitch_method": source.algo,
        "seed": live.stream.seed,
        "mode": parameters.mode,
        "sample_rate": parameters.sample_rate,
        "format": parameters.format,
        "output_sample_rate": output_rate_hz,
        "output_format": output_format,
        "preset": source.lengths.name,
        "block_ms": 1000 * live.block_s,
        "context_ms": FRAME_MS * geometry.context_frames,
        "crossfade_ms": FRAME_MS * geometry.crossfade_frames,
        "lookahead_ms": FRAME_MS * geometry.lookahead_frames,
        "latency_ms": {name: round(ms, 3) for name, ms in latency_ms.items()},
    }


def stats_event(live: LiveSession, num_queued: int) -> Event:
    """What became of the blocks so far; percentiles of the last ones."""
    counts = live.counts
    return {
        "event": "stats",
        "compute_ms": counts.compute_ms(),
        "blocks": counts.num_blocks,
        "dropped_blocks": counts.num_dropped,
        "late": counts.num_late,
        "failed": counts.num_failed,
        "queued": num_queued,
    }


def changed_event(live: LiveSession) -> Event:
    """The parameters that hold from the next block on."""
    return {
        "event": "changed",
        "voice": live.stream.source.voice.name,
        "pitch_method": live.stream.source.algo,
        "parameters": live.parameters.model_dump(exclude_unset=True),
    }


def overrun_event(live: LiveSession) -> Event:
    """Blocks had to be dropped."""
    return {"event": "overrun", "dropped_blocks": live.counts.num_dropped}


def flushed_event(live: LiveSession) -> Event:
    """Everything that came before has been sent."""
    return {"event": "flushed", "blocks": live.counts.num_blocks, "dropped_blocks": live.counts.num_dropped}

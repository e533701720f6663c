"""What is told while it runs: one line, or one JSON object a second."""

from anivoice.client.microphone.microphone import Microphone


def status_of(microphone: Microphone) -> dict[str, object]:
    """Delay in ms (None while unknown), levels in dB of full scale since the last time, counts since the start."""
    players = [] if microphone.ports is None else microphone.ports.players
    stream, delay_ms = microphone.stream, microphone.delay_ms
    return {
        "state": _state(microphone),
        "voice": None if stream is None or stream.ready is None else stream.ready.get("voice"),
        "delay_ms": None if delay_ms is None else round(delay_ms, 1),
        "promised_ms": None if stream is None else stream.latency_ms.get("total"),
        "is_delay_exact": microphone.is_delay_exact,
        "input_db": round(microphone.input_level.take_db(), 1),
        "output_db": round(players[0].level.take_db(), 1) if players else None,
        "dropped_blocks": microphone.num_dropped_blocks,
        "gaps": players[0].buffer.num_gaps if players else 0,
        "sessions": microphone.num_sessions,
        "device_openings": microphone.num_openings,
        "trouble": dict(microphone.trouble),
    }


def _state(microphone: Microphone) -> str:
    stream = microphone.stream
    if stream is None or not stream.is_connected or microphone.ports is None:
        return "waiting"
    if not microphone.is_talking:
        return "silent"
    return "on" if microphone.is_on else "off"


def status_line(status: dict[str, object]) -> str:
    """For people."""
    trouble = status["trouble"]
    told = "; ".join(trouble.values()) if isinstance(trouble, dict) else ""
    delay = "delay unknown"
    if status["delay_ms"] is not None:
        delay = f"delay {'' if status['is_delay_exact'] else 'about '}{status['delay_ms']:.0f} ms"
    levels = f"in {status['input_db']:.0f} dB" + (
        f"  out {status['output_db']:.0f} dB" if status["output_db"] is not None else ""
    )
    parts = [f"[{status['state']}]", str(status["voice"] or ""), delay, levels, f"dropped {status['dropped_blocks']}"]
    return "  ".join(part for part in (*parts, told) if part)

"""Many streams at once through the small networks: each hears what it hears alone, whatever others do beside it."""

import asyncio

import numpy as np
import pytest
from conformance import OWN_VECTORS
from live_sockets import RATE_HZ, flush, pcm, tone
from scipy.io import wavfile

from anivoice.server.state import APP_STATE

LENGTHS = {"block_ms": 240, "context_ms": 200, "crossfade_ms": 40, "lookahead_ms": 20}
KINDS = [
    {"model_name": "alice", "pitch_change": 3, "seed": 1},
    {"model_name": "alice", "pitch_change": -7, "seed": 2, "index_rate": 0.6},
    {"model_name": "bob", "formant_shift": 2.5, "seed": 3},
    {"model_name": "bob", "volume_envelope": 0.3, "seed": 4},
    {"model_name": "vera", "index_rate": 0.5, "protect": 0.1, "seed": 5},
    {"model_name": "vera", "pitch_change": 12, "seed": 6, "unvoiced_f0": "interpolate"},
    {"model_name": "whisper", "seed": 7},
    {"model_name": "whisper", "seed": 8, "output_sample_rate": 48000},
]
ROUNDING = 4 / 32768
"""What is computed in another batch is rounded otherwise; the outputs are 16 bits."""


@pytest.fixture(scope="module")
def sent() -> bytes:
    rate_hz, speech = wavfile.read(OWN_VECTORS / "audio" / "speech_short_16k.wav")
    assert rate_hz == RATE_HZ
    return np.resize(speech, round(0.5 * RATE_HZ)).astype("<i2").tobytes()


@pytest.fixture
def speak(connect, sent):
    async def hear(client, kind) -> np.ndarray:
        socket = await connect(client, mode="reliable", events=True, **LENGTHS, **kind)
        for start in range(0, len(sent), 2 * 997):
            await socket.send_bytes(sent[start : start + 2 * 997])
        answer = await flush(socket)
        await socket.close()
        return np.frombuffer(answer, "<i2") / 32768

    return hear


async def garbage(client, connect) -> None:
    random = np.random.default_rng(0)
    socket = await connect(client, format="opus")
    for _ in range(40):
        await socket.send_bytes(random.bytes(333))
        await socket.send_str("{" + "x" * 50)


async def stall(client, connect) -> None:
    """Sends and reads nothing."""
    socket = await connect(client, mode="live", mute=True, output_sample_rate=192000, output_format="pcm_f32le")
    socket._response.connection.transport.pause_reading()
    for _ in range(20):
        await socket.send_bytes(bytes(RATE_HZ))


async def flood(client, connect) -> None:
    socket = await connect(client, mode="live", block_ms=40, context_ms=200)
    for _ in range(6):
        await socket.send_bytes(pcm(tone(3.0)))


async def die(client, connect) -> None:
    socket = await connect(client, mode="live", **LENGTHS)
    await socket.send_bytes(pcm(tone(0.6)))
    await asyncio.sleep(0)
    socket._response.connection.transport.abort()


async def test_eight_streams_hear_what_they_hear_alone_beside_four_that_misbehave(serve_real, connect, speak, sent):
    client = await serve_real(max_live_batch=4, session_grace_seconds=0)
    engine = client.app[APP_STATE].runtime.engine
    engine.admission.max_load = float("inf")
    alone = [await speak(client, kind) for kind in KINDS]
    assert all(np.abs(one).max() > 0.001 for one in alone)
    engine.live_batch_sizes.clear()
    others = [asyncio.create_task(misbehave(client, connect)) for misbehave in (garbage, stall, flood, die)]
    together = await asyncio.gather(*(speak(client, kind) for kind in KINDS))
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    for kind, got, wanted in zip(KINDS, together, alone, strict=True):
        assert len(got) == len(sent) / 2 * kind.get("output_sample_rate", RATE_HZ) / RATE_HZ
        np.testing.assert_allclose(got, wanted, atol=ROUNDING, err_msg=str(kind))
    assert max(engine.live_batch_sizes) > 1, "some were computed together"
    for i, one in enumerate(alone):
        close = [j for j, other in enumerate(alone) if len(one) == len(other) and np.allclose(one, other, atol=0.01)]
        assert close == [i], "each is its own"

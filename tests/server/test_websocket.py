"""Live streams over real sockets: what a client sends and what it gets."""

import json

import numpy as np
import pytest
from aiohttp import WSMsgType

RATE_HZ = 16000
BLOCK_MS = 80


def tone(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)


def pcm(samples: np.ndarray) -> bytes:
    return np.rint(32767 * samples).astype("<i2").tobytes()


@pytest.fixture
def connect(serve_fake):
    """`socket = await connect(client, sample_rate=8000)`: a session with these parameters, and its socket."""

    async def open_session(client, **values):
        values = {"sample_rate": RATE_HZ, "preset": "low", "mode": "reliable"} | values
        async with client.post("/convert/stream", json=values) as answer:
            assert answer.status == 200, await answer.text()
            url = (await answer.json())["websocket_url"]
        return await client.ws_connect(url)

    return open_session


async def receive_until(socket, wanted: str) -> tuple[bytes, list[dict]]:
    """The audio and the texts up to the text that has the key or the event `wanted`."""
    audio, texts = b"", []
    while True:
        message = await socket.receive(30)
        if message.type is WSMsgType.BINARY:
            audio += message.data
            continue
        assert message.type is WSMsgType.TEXT, message
        texts.append(json.loads(message.data))
        if wanted in texts[-1] or texts[-1].get("event") == wanted:
            return audio, texts


async def test_plain_client(serve_fake):
    """Parameters, then bytes in and bytes out, and nothing else."""
    client = await serve_fake()
    async with client.post("/convert/stream", json={"model_name": "bob", "pitch_change": 3}) as answer:
        url = (await answer.json())["websocket_url"]
    sent = pcm(tone(1.0, 48000))
    async with client.ws_connect(url) as socket:
        await socket.send_json({"pitch_change": 5, "mode": "reliable"})
        for start in range(0, len(sent), 1921):
            await socket.send_bytes(sent[start : start + 1921])
        got = b""
        while len(got) < 0.7 * len(sent):
            message = await socket.receive(30)
            assert message.type is WSMsgType.BINARY
            got += message.data
    samples = np.frombuffer(got, "<i2")[20000:28000] / 32768
    assert np.abs(samples).max() == pytest.approx(0.25, rel=0.05)


async def test_flush_brings_as_many_samples_as_were_sent(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, events=True)
    sent = pcm(tone(1.003))
    await socket.send_bytes(sent)
    await socket.send_json({"flush": True})
    audio, _ = await receive_until(socket, "flushed")
    assert len(audio) == len(sent)

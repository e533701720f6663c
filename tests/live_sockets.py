"""What tests of live streams send, and how they read the answer."""

import json
from typing import Any

import numpy as np
from aiohttp import ClientWebSocketResponse, WSMsgType
from numpy.typing import NDArray

RATE_HZ = 16000
BLOCK_MS = 80


def tone(seconds: float, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Half of full scale, 220 Hz."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)


def pcm(samples: NDArray[Any]) -> bytes:
    return np.rint(32767 * samples).astype("<i2").tobytes()


def height(audio: bytes) -> float:
    """The peak of int16 samples. A tone that sets in suddenly comes out up to 12 % higher: of a high-pass."""
    return float(np.abs(np.frombuffer(audio, "<i2") / 32768).max(initial=0))


async def receive_until(socket: ClientWebSocketResponse, wanted: str) -> tuple[bytes, list[dict[str, Any]]]:
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


async def flush(socket: ClientWebSocketResponse) -> bytes:
    """All audio that is still to come. Needs events."""
    await socket.send_json({"flush": True})
    return (await receive_until(socket, "flushed"))[0]

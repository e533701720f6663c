"""One session, frame by frame, in a file that any client's author can replay: docs/protocol/session.jsonl.

`ANIVOICE_RECORD_SESSION=1 pytest tests/server/test_protocol.py` records it anew.
"""

import base64
import json
from pathlib import Path
from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType
from live_sockets import pcm, tone

SESSION_FILE = Path(__file__).parents[1] / "docs" / "protocol" / "session.jsonl"
RATE_HZ = 8000
PARAMETERS = {"sample_rate": RATE_HZ, "preset": "low", "mode": "reliable", "passthrough": True, "seed": 1}
VARYING = ("session_id", "latency_ms")
"""Of `ready`: another one in each session, or measured."""

Entry = dict[str, Any]


def script() -> list[tuple[Entry, str]]:
    """What the client sends, and the event or key with which the answer to it ends."""
    sent = pcm(tone(0.45, RATE_HZ))
    return [
        (_text(events=True), "ready"),
        (_audio(sent[:1281]), ""),
        (_text(pitch_change=99), "error"),
        (_text(ping=7), "pong"),
        (_audio(sent[1281:4000]), ""),
        (_text(mute=True), "changed"),
        (_audio(sent[4000:]), ""),
        (_text(flush=True), "flushed"),
    ]


async def play(socket: ClientWebSocketResponse, entry: Entry) -> None:
    """Sends an entry of the client."""
    if "text" in entry:
        await socket.send_json(entry["text"])
    else:
        await socket.send_bytes(base64.b64decode(entry["audio"]))


async def answers(socket: ClientWebSocketResponse, last: str) -> list[Entry]:
    """Up to the text that has the key or is the event `last`; neighbouring audio is one entry. Without `stats`, which
    come by the clock.
    """
    found: list[Entry] = []
    while last:
        message = await socket.receive(30)
        if message.type is WSMsgType.BINARY:
            before = found.pop() if found and "audio" in found[-1] else {"audio": ""}
            found.append(_audio(base64.b64decode(before["audio"]) + message.data, "server"))
            continue
        assert message.type is WSMsgType.TEXT, message
        text = json.loads(message.data)
        if text.get("event") != "stats":
            found.append({"from": "server", "text": text})
        if last in text or text.get("event") == last:
            break
    return found


def without_varying(entry: Entry) -> Entry:
    """As it is compared: what differs from run to run is there, but its value does not count."""
    text = entry.get("text", {})
    return {**entry, "text": {**text, **{name: "..." for name in VARYING if name in text}}}


def load() -> list[Entry]:
    return [json.loads(line) for line in SESSION_FILE.read_text("utf-8").splitlines()]


def save(entries: list[Entry]) -> None:
    SESSION_FILE.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")


def _text(**values: object) -> Entry:
    return {"from": "client", "text": values}


def _audio(data: bytes, sender: str = "client") -> Entry:
    return {"from": sender, "audio": base64.b64encode(data).decode()}

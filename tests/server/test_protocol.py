"""What a running server sends is what is described: in the models, in docs/protocol.md, in the recorded session."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import recorded_session
from aiohttp import WSMsgType
from live_sockets import pcm, receive_until, tone

from anivoice import errors
from anivoice.audio.wire import WireEncoder
from anivoice.live.parameters import FIXED_AFTER_START, StreamParameters
from anivoice.server.live.connection import MAX_ERRORS_IN_A_ROW, MAX_TEXT_CHARS
from anivoice.server.live.events import CLOSE_CODES, EVENTS, LIVE_MESSAGE, LatencyMs, LiveCommand

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.fixture(scope="module")
def document() -> str:
    return DOCUMENT.read_text("utf-8")


async def test_everything_sent_is_of_the_models(serve_fake, fake, connect):
    """All kinds, and every text frame of a stream in which something of each happens."""
    client = await serve_fake()
    socket = await connect(client, mode="live", seed=1)
    await socket.send_json({"events": True})
    texts = (await receive_until(socket, "ready"))[1]
    fake.runner.is_held = lambda request: True
    await socket.send_bytes(pcm(tone(3.0)))
    await asyncio.sleep(0.1)
    await socket.send_bytes(pcm(tone(1.0)))
    fake.runner.is_held = lambda request: False
    await socket.send_json({"ping": {"any": [1, None]}})
    texts += (await receive_until(socket, "pong"))[1]
    await socket.send_json({"pitch_change": 3, "seed": 1})
    texts += (await receive_until(socket, "changed"))[1]
    await socket.send_json({"pitch_change": 99})
    texts += (await receive_until(socket, "error"))[1]
    await socket.send_json({"flush": True})
    texts += (await receive_until(socket, "flushed"))[1]
    texts += (await receive_until(socket, "stats"))[1]
    kinds = {type(LIVE_MESSAGE.validate_python(text)) for text in texts}
    assert kinds == set(EVENTS)


async def test_opus_tells_what_its_encoder_adds(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, format="opus", sample_rate=48000, events=True)
    await socket.send_json({})
    _, [ready] = await receive_until(socket, "ready")
    promised = LatencyMs.model_validate(ready["latency_ms"])
    assert promised.encoding == WireEncoder("opus", 48000).delay_ms > 0


async def test_a_command_may_hold_everything_at_once(serve_fake, connect):
    """The model of what clients send has the fields that are understood, and no other."""
    assert LiveCommand.model_fields.keys() - StreamParameters.model_fields.keys() == {"flush", "ping"}
    client = await serve_fake()
    socket = await connect(client)
    await socket.send_json({"events": True, "mute": True, "ping": 1, "flush": True})
    _, texts = await receive_until(socket, "pong")
    assert [text["event"] for text in texts] == ["ready", "flushed", "pong"]


def test_close_codes_are_described():
    def tree(root):
        yield root
        for kind in root.__subclasses__():
            yield from tree(kind)

    assert {kind.websocket_close_code for kind in tree(errors.AnivoiceError)} <= CLOSE_CODES.keys()


def test_document_names_every_event_field_and_code(document):
    for model in EVENTS:
        kind = model.model_fields["event"].default if "event" in model.model_fields else "error"
        section = re.search(rf"^#### `{kind}`\n(.*?)(?=^##)", document, re.M | re.S)
        assert section is not None, kind
        told = set(re.findall(r"^\| `(\w+)` \|", section.group(1), re.M))
        assert told == model.model_fields.keys() - {"event"}, kind
    assert set(re.findall(r"^\| `(1\d\d\d)` \|", document, re.M)) == {*map(str, CLOSE_CODES), "1006"}
    terms = set(re.findall(r"^\| term `(\w+)` \|", document, re.M))
    assert terms == LatencyMs.model_fields.keys()


def test_document_tells_the_limits_there_are(document, make_settings):
    settings = make_settings()
    for limit in (
        f"{settings.max_message_kb} KiB",
        f"{MAX_TEXT_CHARS} characters",
        f"{MAX_ERRORS_IN_A_ROW} errors in a row",
        f"{settings.max_sessions} sessions",
        f"{settings.session_ttl_seconds:g} s",
        f"{settings.session_grace_seconds:g} s",
        f"{settings.max_stall_seconds:g} s",
        *(f"`{name}`" for name in FIXED_AFTER_START),
    ):
        assert limit in document, limit


def test_examples_in_the_document_are_of_the_models(document):
    blocks = re.findall(r"```json\n(.*?)```", document, re.S)
    examples = [json.loads(block) for block in blocks]
    answers = [LIVE_MESSAGE.validate_python(one) for one in examples if "event" in one or "error" in one]
    assert {type(one) for one in answers} == set(EVENTS)
    for command in (one for one in examples if not ("event" in one or "error" in one)):
        LiveCommand.model_validate(command)


async def test_recorded_session_is_what_a_server_says(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, **recorded_session.PARAMETERS)
    played = [{"from": "client", "post": "/convert/stream", "json": recorded_session.PARAMETERS}]
    for entry, last in recorded_session.script():
        await recorded_session.play(socket, entry)
        played += [entry, *await recorded_session.answers(socket, last)]
    await socket.close()
    if os.environ.get("ANIVOICE_RECORD_SESSION"):
        recorded_session.save(played)
    recorded = recorded_session.load()
    assert list(map(recorded_session.without_varying, played)) == list(map(recorded_session.without_varying, recorded))


async def test_python_of_the_document_runs(serve_fake, document):
    client = await serve_fake()
    scope: dict[str, object] = {}
    code = code_of(document, "python").replace("http://127.0.0.1:8000", str(client.make_url("/")))
    await asyncio.to_thread(exec, code, scope)
    assert scope["changed"] == bytes(48000)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_javascript_of_the_document_runs(serve_fake, document):
    client = await serve_fake()
    code = code_of(document, "javascript").replace("http://127.0.0.1:8000", str(client.make_url("/")).rstrip("/"))
    code += "change(new Int16Array(24000)).then((all) => console.log(all.reduce((sum, one) => sum + one.length, 0)));"
    process = await asyncio.create_subprocess_exec(
        "node", "--experimental-websocket", "-e", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, problems = await process.communicate()
    assert output.decode().strip() == "24000", problems.decode()


def code_of(document: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", document, re.S)
    assert found is not None
    return found.group(1)


def test_described_examples_of_bytes(document):
    """The hexadecimal lines of the document: a masked frame and its content, by the arithmetic of RFC 6455."""
    frames = re.findall(r"^    ((?:[0-9a-f]{2} ?)+) +\| (.*)$", document, re.M)
    assert len(frames) >= 3
    for hexadecimal, content in frames:
        expected = content.encode() if content[0] == "{" else bytes.fromhex(content)
        assert unframed(bytes.fromhex(hexadecimal)) == expected


def unframed(frame: bytes) -> bytes:
    is_masked, length = frame[1] & 0x80, frame[1] & 0x7F
    assert length < 126
    key, content = (frame[2:6], frame[6:]) if is_masked else (bytes(4), frame[2:])
    assert len(content) == length
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(content))


async def test_close_of_a_text_that_is_no_text(serve_fake, connect):
    """A text frame that is not UTF-8 breaks the protocol of WebSockets itself."""
    client = await serve_fake()
    socket = await connect(client)
    await socket._writer.send_frame(b"\xff\xfe", WSMsgType.TEXT)
    assert (await socket.receive(30)).type is WSMsgType.CLOSE
    assert socket.close_code == 1007

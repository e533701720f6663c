"""`/control`: events of all sessions and commands, over a real socket."""

import base64
import json

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError
from live_sockets import pcm, receive_until, tone

from anivoice.server.control.control import CONTROL
from anivoice.server.control.models import CONTROL_EVENT, ControlCommand, SessionsEvent
from anivoice.server.control.socket import CONTROL_SOCKETS
from anivoice.server.state import APP_STATE

KEY = "correct-horse"


@pytest.fixture
async def client(serve_fake, tmp_path):
    return await serve_fake(presets_file=tmp_path / "presets.json")


@pytest.fixture
async def panel(client):
    async with client.ws_connect("/control") as socket:
        yield socket


@pytest.fixture
async def speaker(client, connect):
    socket = await connect(client, events=True, passthrough=True)
    await socket.send_json({})
    await receive_until(socket, "ready")
    return socket


async def event(socket, kind: str):
    """The next event of the kind; every one on the way is of the models."""
    while True:
        message = await socket.receive(30)
        assert message.type is WSMsgType.TEXT, message
        found = CONTROL_EVENT.validate_python(json.loads(message.data))
        if found.event == kind:
            return found


async def command(socket, **values):
    ControlCommand.model_validate(values)
    await socket.send_json({"request": 7, **values})
    while True:
        message = await socket.receive_json(timeout=30)
        if message["event"] in ("done", "refused"):
            assert message["request"] == 7
            return message


async def test_everything_is_told_at_once_and_then_the_changes(client, speaker, panel):
    assert (await event(panel, "monitor")).on is False
    assert (await event(panel, "presets")).presets == {}
    sessions = (await event(panel, "sessions")).sessions
    assert [one.state for one in sessions] == ["live"]
    assert (await command(panel, change={"pitch_change": 4}))["errors"] == {}
    async with client.put("/presets/low", json={"pitch_change": -5}) as answer:
        assert answer.status == 200
    assert (await event(panel, "presets")).presets == {"low": {"pitch_change": -5}}
    assert (await command(panel, apply="low"))["event"] == "done"
    found: SessionsEvent = await event(panel, "sessions")
    while found.sessions[0].parameters["pitch_change"] != -5:
        found = await event(panel, "sessions")


async def test_levels_while_somebody_watches(client, speaker, panel, until):
    await command(panel, interval_ms=50)
    await event(panel, "sessions")
    await speaker.send_bytes(pcm(tone(0.5)))
    levels = None
    while levels is None or levels.output < -20:
        [session] = (await event(panel, "sessions")).sessions
        levels = session.levels_db
    assert levels.output == pytest.approx(-6, abs=1)
    [live] = client.app[APP_STATE].sessions.all()
    assert live.held.meter.is_watched
    await panel.close()
    await until(lambda: not live.held.meter.is_watched)
    assert not client.app[CONTROL].listeners


async def test_one_session_is_ended_and_a_wish_is_passed_on(client, speaker, panel):
    [session] = (await event(panel, "sessions")).sessions
    async with client.ws_connect("/control") as other:
        await event(other, "monitor")
        assert (await command(panel, monitor=True))["event"] == "done"
        assert (await event(other, "monitor")).on is True
    assert (await command(panel, end=True, session=session.id))["event"] == "done"
    assert "ended from outside" in (await receive_until(speaker, "error"))[1][-1]["error"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ('{"loudness": 1}', "loudness"),
        ('{"change": {"pitch_change": 99}}', "pitch_change"),
        ('{"change": {"sample_rate": 8000}}', "sample_rate"),
        ('{"change": 5}', "change"),
        ('{"apply": "nobody"}', "no set-up"),
        ('{"end": true, "session": "nobody"}', "no session"),
        ('{"interval_ms": 1}', "interval_ms"),
    ],
)
async def test_wrong_commands_are_told_and_the_socket_goes_on(panel, text, told):
    await panel.send_str(text)
    assert told in (await event(panel, "refused")).error
    assert (await command(panel))["event"] == "done"


async def test_a_file_of_set_ups_that_is_none_is_told(client, tmp_path):
    (tmp_path / "presets.json").write_text("[", "utf-8")
    async with client.ws_connect("/control") as socket:
        assert "cannot be read" in (await event(socket, "refused")).error
        await event(socket, "sessions")


async def test_pages_give_the_key_as_a_subprotocol(serve_fake):
    client = await serve_fake(api_key=KEY)
    for protocols in ((), ("anivoice",), ("anivoice", "key.d3Jvbmc"), ("anivoice", "key.%%%")):
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.ws_connect("/control", protocols=protocols)
        assert caught.value.status == 401
    encoded = base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
    async with client.ws_connect("/control", protocols=("anivoice", f"key.{encoded}")) as socket:
        assert socket.protocol == "anivoice"
        await event(socket, "sessions")
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect("/control", origin="https://evil.example", protocols=(f"key.{encoded}",))
    assert caught.value.status == 403


async def test_a_request_that_is_none_and_the_servers_end(client, panel):
    async with client.get("/control") as answer:
        assert answer.status == 426
    await event(panel, "sessions")
    await client.app.shutdown()
    while (message := await panel.receive(30)).type is WSMsgType.TEXT:
        pass
    assert message.data == 1001
    assert not client.app[CONTROL_SOCKETS]

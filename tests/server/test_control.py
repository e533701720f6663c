"""Sessions seen and changed from outside, and named set-ups."""

import asyncio
import json

import numpy as np
import pytest
from aiohttp import WSMsgType
from live_sockets import BLOCK_MS, RATE_HZ, flush, height, pcm, receive_until, tone

from anivoice.live.parameters import FIXED_AFTER_START, StreamParameters
from anivoice.server.control.models import LIVE_PARAMETERS, SessionInfo
from anivoice.server.control.presets import PresetStore
from anivoice.server.state import APP_STATE

KEY = "correct-horse"
BLOCK_BYTES = 2 * RATE_HZ * BLOCK_MS // 1000


@pytest.fixture
def settings(tmp_path):
    return {"presets_file": tmp_path / "presets.json"}


@pytest.fixture
def call():
    """`status, answer = await call(client, "PATCH", "/sessions", {"mute": True})`."""

    async def send(client, method, path, values=None, **options):
        async with client.request(method, path, json=values, **options) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    return send


@pytest.fixture
def begun(connect):
    """A socket whose stream has begun, with events."""

    async def begin(client, **values):
        socket = await connect(client, events=True, **values)
        await socket.send_json({})
        await receive_until(socket, "ready")
        return socket

    return begin


async def test_a_session_through_its_life(serve_fake, settings, call, begun, until):
    client = await serve_fake(**settings)
    assert await call(client, "GET", "/sessions") == (200, {"sessions": []})
    _, made = await call(client, "POST", "/convert/stream", {"model_name": "bob"})
    _, found = await call(client, "GET", "/sessions")
    [info] = map(SessionInfo.model_validate, found["sessions"])
    assert (info.state, info.voice, info.delay_ms) == ("new", "bob", None)
    assert made["session_id"] not in json.dumps(found)
    socket = await client.ws_connect(made["websocket_url"])
    await socket.send_json({"events": True, "pitch_change": 2, "preset": "low"})
    _, [ready] = await receive_until(socket, "ready")
    await socket.send_bytes(pcm(tone(0.5, 48000)))
    await flush(socket)
    _, found = await call(client, "GET", f"/sessions/{info.id}")
    live = SessionInfo.model_validate(found)
    assert (live.state, live.voice, live.parameters["pitch_change"]) == ("live", "bob", 2)
    waiting_ms = ready["latency_ms"]["total"] - ready["latency_ms"]["computing"]
    assert live.block_ms == 80
    assert live.delay_ms >= waiting_ms
    assert live.blocks > 0
    assert made["session_id"] not in json.dumps(found)
    socket._response.connection.transport.abort()
    await until(lambda: not client.app[APP_STATE].sessions.num_attached)
    assert (await call(client, "GET", f"/sessions/{info.id}"))[1]["state"] == "away"
    assert (await call(client, "DELETE", f"/sessions/{info.id}"))[0] == 204
    assert (await call(client, "GET", f"/sessions/{info.id}"))[0] == 404


async def test_every_parameter_but_the_connections_own(serve_fake, settings, call, begun):
    """What is not fixed and not the client's own business can be changed from outside, and nothing else."""
    assert set(LIVE_PARAMETERS) == StreamParameters.model_fields.keys() - {*FIXED_AFTER_START, "events"}
    client = await serve_fake(**settings)
    socket = await begun(client)
    [info] = (await call(client, "GET", "/sessions"))[1]["sessions"]
    values = {
        "model_name": "bob",
        "pitch_change": 5,
        "gate_db": -50,
        "formant_shift": 1.5,
        "protect": 0.2,
        "mute": False,
    }
    status, changed = await call(client, "PATCH", f"/sessions/{info['id']}", values)
    assert (status, changed["voice"]) == (200, "bob")
    assert changed["parameters"] | values == changed["parameters"]
    told = (await receive_until(socket, "changed"))[1][-1]
    assert told["voice"] == "bob"
    assert told["parameters"] == changed["parameters"]
    for name in ("sample_rate", "events"):
        status, answer = await call(client, "PATCH", f"/sessions/{info['id']}", {name: 16000})
        assert (status, name in answer["error"]) == (422, True)


@pytest.mark.parametrize(
    ("values", "status", "told"),
    [({"pitch_change": 99}, 422, "pitch_change"), ({"loudness": 1}, 422, "loudness"), ([1], 400, "array")],
)
async def test_wrong_values_change_nothing(serve_fake, settings, call, begun, values, status, told):
    client = await serve_fake(**settings)
    await begun(client)
    for path in ("/sessions", f"/sessions/{(await call(client, 'GET', '/sessions'))[1]['sessions'][0]['id']}"):
        found, answer = await call(client, "PATCH", path, values)
        assert (found, told in answer["error"]) == (status, True)


async def test_a_voice_that_is_not_there(serve_fake, settings, call, begun):
    client = await serve_fake(**settings)
    await begun(client)
    await call(client, "POST", "/convert/stream")
    status, answer = await call(client, "PATCH", "/sessions", {"model_name": "nobody"})
    assert status == 200
    assert answer["sessions"] == []
    assert all("nobody" in sentence for sentence in answer["errors"].values())
    assert len(answer["errors"]) == 2


async def test_a_session_that_nobody_has_opened_begins_as_it_was_changed(serve_fake, settings, call):
    client = await serve_fake(**settings)
    _, made = await call(client, "POST", "/convert/stream")
    await call(client, "PATCH", "/sessions", {"model_name": "bob", "passthrough": True})
    async with client.ws_connect(made["websocket_url"]) as socket:
        await socket.send_json({"events": True})
        _, [ready] = await receive_until(socket, "ready")
    assert ready["voice"] == "bob"


async def test_a_change_of_the_client_and_one_from_outside_both_hold(serve_fake, settings, call, begun):
    """Also when the client's waits for its voice meanwhile."""
    client = await serve_fake(**settings)
    socket = await begun(client)
    await socket.send_bytes(pcm(tone(0.2)))
    await socket.send_json({"model_name": "whisper", "pitch_change": 4})
    await call(client, "PATCH", "/sessions", {"protect": 0.1})
    told = {}
    while told.get("voice") != "whisper" or told["parameters"].get("protect") != 0.1:
        told = (await receive_until(socket, "changed"))[1][-1]
    assert told["parameters"]["pitch_change"] == 4


async def test_ended_from_outside(serve_fake, settings, call, begun):
    client = await serve_fake(**settings)
    sockets = [await begun(client) for _ in range(2)]
    await call(client, "POST", "/convert/stream")
    assert (await call(client, "DELETE", "/sessions"))[0] == 204
    for socket in sockets:
        _, texts = await receive_until(socket, "error")
        assert "ended from outside" in texts[-1]["error"]
        assert (await socket.receive(30)).type is WSMsgType.CLOSE
        assert socket.close_code == 1008
    assert (await call(client, "GET", "/sessions"))[1] == {"sessions": []}


async def test_set_ups_are_kept(serve_fake, settings, call):
    client = await serve_fake(**settings)
    robot = {"pitch_change": -5, "formant_shift": -2}
    assert (await call(client, "PUT", "/presets/robot%20voice", robot))[0] == 200
    assert await call(client, "GET", "/presets") == (200, {"presets": {"robot voice": robot}})
    assert await call(client, "GET", "/presets/robot%20voice") == (200, robot)
    assert PresetStore(settings["presets_file"]).all() == {"robot voice": robot}
    assert (await call(client, "DELETE", "/presets/robot%20voice"))[0] == 204
    assert (await call(client, "DELETE", "/presets/robot%20voice"))[0] == 404


@pytest.mark.parametrize(
    ("path", "values", "status"),
    [
        ("/presets/a", {"pitch_change": 99}, 422),
        ("/presets/a", {"sample_rate": 8000}, 422),
        ("/presets/a", {}, 422),
        ("/presets/%0a", {"mute": True}, 400),
        (f"/presets/{'x' * 65}", {"mute": True}, 400),
    ],
)
async def test_wrong_set_ups(serve_fake, settings, call, path, values, status):
    client = await serve_fake(**settings)
    assert (await call(client, "PUT", path, values))[0] == status
    assert (await call(client, "GET", "/presets"))[1] == {"presets": {}}


async def test_a_file_of_set_ups_that_is_none(serve_fake, settings, call):
    settings["presets_file"].write_text("[", "utf-8")
    client = await serve_fake(**settings)
    assert (await call(client, "GET", "/presets"))[0] == 503
    assert (await call(client, "PUT", "/presets/a", {"mute": True}))[0] == 503
    assert settings["presets_file"].read_text("utf-8") == "["


async def test_a_scene_changes_three_sessions_within_a_block_each_without_a_click(serve_fake, settings, call, begun):
    """From own voice to silence, which is the largest step there is: it is a fade, and within one block of the call."""
    client = await serve_fake(**settings)
    await call(client, "PUT", "/presets/quiet", {"mute": True})
    sockets = [await begun(client, passthrough=True) for _ in range(3)]
    sent = pcm(tone(0.96))
    num_before = 6 * BLOCK_BYTES
    for socket in sockets:
        await socket.send_bytes(sent[:num_before])
    before = [await exactly(socket, num_before - 2 * BLOCK_BYTES) for socket in sockets]
    status, answer = await call(client, "POST", "/presets/quiet/apply")
    assert (status, len(answer["sessions"]), answer["errors"]) == (200, 3, {})
    for socket, start in zip(sockets, before, strict=True):
        await socket.send_bytes(sent[num_before:])
        heard = np.frombuffer(start + await flush(socket), "<i2").astype(np.float64)
        assert len(heard) == len(sent) // 2
        silent_from = np.flatnonzero(heard)[-1] + 1
        assert silent_from <= num_before // 2 + BLOCK_BYTES // 2
        assert silent_from >= num_before // 2 - 2 * BLOCK_BYTES // 2
        spoken = np.frombuffer(sent, "<i2").astype(np.float64)
        inside = slice(RATE_HZ // 100, silent_from + 100)
        assert np.abs(np.diff(heard, 2))[inside].max() < 1.5 * np.abs(np.diff(spoken, 2))[100:-100].max()


async def exactly(socket, num_bytes: int) -> bytes:
    """So much audio at least."""
    audio = b""
    while len(audio) < num_bytes:
        message = await socket.receive(30)
        if message.type is WSMsgType.BINARY:
            audio += message.data
    return audio


async def test_a_scene_for_one_session(serve_fake, settings, call, begun):
    client = await serve_fake(**settings)
    await call(client, "PUT", "/presets/quiet", {"mute": True})
    quiet, loud = await begun(client, passthrough=True), await begun(client, passthrough=True)
    first = (await call(client, "GET", "/sessions"))[1]["sessions"][0]["id"]
    assert (await call(client, "POST", "/presets/quiet/apply", {"sessions": [first]}))[0] == 200
    for socket, expected in ((quiet, 0), (loud, 0.5)):
        await socket.send_bytes(pcm(tone(0.5)))
        assert height(await flush(socket)) == pytest.approx(expected, abs=0.02)
    for wrong in ({"sessions": ["nobody"]}, {"sessions": "all"}, {"mute": True}):
        assert (await call(client, "POST", "/presets/quiet/apply", wrong))[0] in (400, 404)
    assert (await call(client, "POST", "/presets/loud/apply"))[0] == 404


async def test_a_key_and_foreign_pages(serve_fake, settings, call):
    client = await serve_fake(api_key=KEY, **settings)
    for method, path in (("GET", "/sessions"), ("PATCH", "/sessions"), ("GET", "/presets"), ("DELETE", "/sessions/x")):
        assert (await call(client, method, path))[0] == 401
    allowed = {"Authorization": f"Bearer {KEY}"}
    assert (await call(client, "GET", "/sessions", headers=allowed))[0] == 200
    foreign = {**allowed, "Origin": "https://evil.example"}
    assert (await call(client, "PATCH", "/sessions", {"mute": True}, headers=foreign))[0] == 403


async def test_many_changes_at_once(serve_fake, settings, call, begun):
    client = await serve_fake(**settings)
    sockets = [await begun(client) for _ in range(3)]
    await asyncio.gather(*(call(client, "PATCH", "/sessions", {"pitch_change": pitch}) for pitch in range(-5, 6)))
    found = (await call(client, "GET", "/sessions"))[1]["sessions"]
    assert len({one["parameters"]["pitch_change"] for one in found}) == 1
    for socket in sockets:
        await socket.send_bytes(pcm(tone(0.2)))
        assert len(await flush(socket)) == len(pcm(tone(0.2)))

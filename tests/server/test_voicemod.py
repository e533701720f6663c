"""What Voicemod's clients say, replayed: https://control-api.voicemod.net/api-reference/."""

import aiohttp
import pytest
from live_sockets import flush, height, pcm, receive_until, tone

from anivoice.errors import InvalidParameter
from anivoice.parameters import ConversionParameters
from anivoice.server.app import build_app
from anivoice.server.control.voicemod_site import run_voicemod_site

NO_VOICE = "nofx"


@pytest.fixture
async def client(serve_fake, unused_tcp_port, tmp_path):
    served = await serve_fake(voicemod_port=unused_tcp_port, presets_file=tmp_path / "presets.json")
    served.voicemod_url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    return served


@pytest.fixture
async def deck(client):
    async with aiohttp.ClientSession() as http, http.ws_connect(client.voicemod_url + "/") as socket:
        yield Deck(socket)


@pytest.fixture
async def speaker(client, connect):
    socket = await connect(client, events=True)
    await socket.send_json({})
    await receive_until(socket, "ready")
    return socket


class Deck:
    """A client. What comes by itself is kept until it is asked for."""

    def __init__(self, socket) -> None:
        self.socket = socket
        self._events: list[dict] = []

    async def ask(self, action: str, **payload):
        """The answer."""
        identifier = f"id of {action}"
        await self.socket.send_json({"action": action, "id": identifier, "payload": payload})
        while (found := await self.socket.receive_json(timeout=20)).get("id") != identifier:
            self._events.append(found)
        return found

    async def register(self) -> None:
        answer = await self.ask("registerClient", clientKey="MyUniqueClientKey")
        assert (answer["action"], answer["payload"]["status"]["code"]) == ("registerClient", 200)

    async def event(self, name: str):
        """One that comes by itself: it has no id, and says its name twice."""
        while True:
            found = self._events.pop(0) if self._events else await self.socket.receive_json(timeout=20)
            if found.get("action") == name:
                assert found["actionType"] == name
                assert found["id"] is None
                return found["actionObject"]


async def test_registration_comes_first(deck):
    await deck.socket.send_json({"action": "getVoices", "id": "1", "payload": {}})
    assert await deck.socket.receive_json(timeout=30) == {"msg": "Pending authentication"}
    await deck.register()
    assert (await deck.ask("getVoices"))["actionType"] == "getVoices"


async def test_voices_are_listed_and_loaded(deck, speaker):
    await deck.register()
    answer = await deck.ask("getVoices")
    assert answer["actionObject"] == answer["payload"]
    names = [voice["id"] for voice in answer["actionObject"]["voices"]]
    assert names[0] == NO_VOICE
    assert {"alice", "bob", "whisper"} <= set(names)
    assert answer["actionObject"]["currentVoice"] == "alice"
    assert (await deck.ask("loadVoice", voiceID="bob"))["actionObject"] == {"voiceID": "bob"}
    assert await deck.event("voiceLoadedEvent") == {"voiceID": "bob"}
    assert (await deck.ask("getCurrentVoice"))["actionObject"]["voiceID"] == "bob"
    assert (await receive_until(speaker, "changed"))[1][-1]["voice"] == "bob"
    assert "error" in (await deck.ask("loadVoice", voiceID="nobody"))["actionObject"]
    assert (await deck.ask("getCurrentVoice"))["actionObject"]["voiceID"] == "bob"
    await deck.ask("loadVoice", voiceID=NO_VOICE)
    assert (await deck.ask("getCurrentVoice"))["actionObject"]["voiceID"] == NO_VOICE
    chosen = (await deck.ask("selectRandomVoice", mode="AllVoices"))["actionObject"]
    if "error" not in chosen:  # one of the voices here cannot be used
        assert (await deck.ask("getCurrentVoice"))["actionObject"]["voiceID"] == chosen["voiceID"]
        assert chosen["voiceID"] in names[1:]


@pytest.mark.parametrize(
    ("toggle", "status", "first", "name"),
    [
        ("toggleVoiceChanger", "getVoiceChangerStatus", True, "voiceChanger"),
        ("toggleMuteMic", "getMuteMicStatus", False, "muteMic"),
        ("toggleHearMyVoice", "getHearMyselfStatus", False, "hearMySelf"),
    ],
)
async def test_switches(deck, speaker, toggle, status, first, name):
    await deck.register()
    for expected in (first, not first, first):
        answer = await deck.ask(status)
        assert (answer["actionType"], answer["actionObject"]) == (toggle, {"value": expected})
        assert (await deck.ask(toggle))["actionObject"] == {"value": not expected}
        await deck.event(f"{name}{'Disabled' if expected else 'Enabled'}Event")
    assert (await deck.ask(toggle, value=first))["actionObject"] == {"value": first}


async def test_what_is_heard(deck, speaker):
    await deck.register()
    for action, expected in ((None, 0.25), ("toggleVoiceChanger", 0.5), ("toggleMuteMic", 0)):
        if action is not None:
            await deck.ask(action)
        await speaker.send_bytes(pcm(tone(0.5)))
        assert height(await flush(speaker)) == pytest.approx(expected, abs=0.04)


async def test_changes_of_others_are_told(client, deck, speaker):
    await deck.register()
    await deck.ask("getVoices")
    async with client.patch("/sessions", json={"mute": True}) as answer:
        assert answer.status == 200
    await deck.event("muteMicEnabledEvent")


async def test_without_a_session(deck):
    await deck.register()
    assert (await deck.ask("getCurrentVoice"))["actionObject"]["voiceID"] == "alice"
    assert (await deck.ask("toggleMuteMic"))["actionObject"] == {"value": True}
    assert (await deck.ask("getMuteMicStatus"))["actionObject"] == {"value": False}


async def test_what_is_not_understood(deck):
    await deck.register()
    answer = await deck.ask("playMeme", FileName="boing")
    assert (answer["actionType"], answer["actionObject"]["commandName"]) == ("commandNotFound", "playMeme")
    await deck.socket.send_str("{")
    assert "msg" in await deck.socket.receive_json(timeout=30)


async def test_foreign_pages_are_refused(client):
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(client.voicemod_url, origin="https://evil.example")
        assert caught.value.status == 403


async def test_off_unless_asked_for_and_a_taken_port(make_settings, fake, client):
    assert make_settings().voicemod_port is None
    port = int(client.voicemod_url.rsplit(":", 1)[1].removesuffix("/v1"))
    app = build_app(make_settings(voicemod_port=port), ConversionParameters(), fake.runtime, fake.clock)
    with pytest.raises(InvalidParameter, match="voicemod_port"):
        await anext(run_voicemod_site(app))

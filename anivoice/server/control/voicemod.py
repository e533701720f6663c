"""Voicemod's Control API (https://control-api.voicemod.net), so that what people have for it works here, too: plugins
of Stream Deck, Bitfocus Companion, Streamer.bot. Off unless a port is set; on this machine only.

A request is `{"action", "id", "payload"}`; its answer has the `actionType`, the same id, and what is told as
`actionObject` and as `payload`, since clients read either. What happens by itself is told by events without an id.

For Voicemod there is one voice and one set of switches: here they are those of all sessions together.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from aiohttp import WSMsgType, web

from anivoice import __version__
from anivoice.errors import AnivoiceError, InvalidParameter
from anivoice.server.control.control import Control, Topic
from anivoice.server.json_text import parse_object
from anivoice.server.state import AppState

NO_VOICE = "nofx"
"""Voicemod's id of the speaker's own voice."""

Fields = Mapping[str, Any]


class Switches(NamedTuple):
    """What Voicemod's clients show."""

    voice: str
    is_on: bool
    is_muted: bool
    is_heard: bool


class VoicemodClient:
    """One connection. `run` it once."""

    def __init__(self, state: AppState, control: Control, socket: web.WebSocketResponse) -> None:
        self._state = state
        self._control = control
        self._socket = socket
        self._told: Switches | None = None
        """None until the client has registered: before that it is told nothing."""
        self._has_news = asyncio.Event()
        self._answers: dict[str, Callable[[Fields], Awaitable[tuple[str, Fields]]]] = {
            "getVoices": self._get_voices,
            "getCurrentVoice": self._get_current_voice,
            "loadVoice": self._load_voice,
            "selectRandomVoice": self._load_random_voice,
            "getVoiceChangerStatus": self._get_changer,
            "toggleVoiceChanger": self._toggle_changer,
            "getMuteMicStatus": self._get_mute,
            "toggleMuteMic": self._toggle_mute,
            "getHearMyselfStatus": self._get_hearing,
            "toggleHearMyVoice": self._toggle_hearing,
        }

    async def run(self) -> None:
        """Until the client goes."""
        self._control.listeners.add(self._note)
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell_changes(), name="anivoice-voicemod")
                async for message in self._socket:
                    if message.type is WSMsgType.TEXT:
                        await self._take(message.data)
                telling.cancel()
        except* ConnectionError:
            pass  # the client has gone while something was sent
        finally:
            self._control.listeners.discard(self._note)

    def _note(self, topic: Topic) -> None:
        if topic != "presets":
            self._has_news.set()

    async def _take(self, text: str) -> None:
        try:
            request = parse_object(text, "the message")
        except AnivoiceError:
            return await self._send({"msg": "not understood"})
        action, identifier, payload = request.get("action"), request.get("id"), request.get("payload")
        if action == "registerClient":
            self._told = self._switches()
            status = {"code": 200, "description": "OK", "message": "authorized"}
            return await self._send({"action": action, "id": identifier, "payload": {"status": status}})
        if self._told is None:
            return await self._send({"msg": "Pending authentication"})
        kind, content = await self._answer(str(action), payload if isinstance(payload, dict) else {})
        return await self._send(_message(kind, content, identifier))

    async def _answer(self, action: str, payload: Fields) -> tuple[str, Fields]:
        answer = self._answers.get(action)
        if answer is None:
            return "commandNotFound", {"commandNotFound": "true", "commandName": action}
        try:
            return await answer(payload)
        except AnivoiceError as error:
            return action, {"error": str(error)}

    async def _tell_changes(self) -> None:
        """Whoever made them: a panel, a script, the client itself."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            before, now = self._told, self._switches()
            if before is not None:
                self._told = now
                for event, content in _events(before, now):
                    await self._send({"action": event, **_message(event, content, None)})

    def _switches(self) -> Switches:
        """The first session's voice; on and muted as all of them are."""
        sessions = self._control.sessions.infos()
        parameters = [one.parameters for one in sessions]
        voice = sessions[0].voice if sessions else self._state.defaults.model_name
        is_on = not sessions or any(not one.get("passthrough") for one in parameters)
        is_muted = bool(sessions) and all(one.get("mute") for one in parameters)
        return Switches(voice if voice and is_on else NO_VOICE, is_on, is_muted, self._control.is_monitoring)

    async def _change(self, values: dict[str, Any]) -> None:
        """Raises AnivoiceError, also if no session could be changed."""
        result = await self._control.sessions.change_all(values)
        for sentence in result.errors.values():
            raise InvalidParameter(sentence)

    async def _names(self) -> list[str]:
        return await self._state.workers.run(self._state.runtime.library.names)

    async def _get_voices(self, payload: Fields) -> tuple[str, Fields]:
        voices = [_voice(NO_VOICE, "Clean"), *(_voice(name, name) for name in await self._names())]
        return "getVoices", {"voices": voices, "currentVoice": self._switches().voice}

    async def _get_current_voice(self, payload: Fields) -> tuple[str, Fields]:
        return "getCurrentVoice", {"voiceID": self._switches().voice, "parameters": []}

    async def _load_voice(self, payload: Fields) -> tuple[str, Fields]:
        voice = str(payload.get("voiceID") or payload.get("voiceId") or "")
        values = {"passthrough": True} if voice == NO_VOICE else {"model_name": voice, "passthrough": False}
        await self._change(values)
        return "loadVoice", {"voiceID": voice}

    async def _load_random_voice(self, payload: Fields) -> tuple[str, Fields]:
        names = await self._names()
        if not names:
            raise InvalidParameter("there is no voice")
        _, loaded = await self._load_voice({"voiceID": random.choice(names)})  # noqa: S311 - nobody guards anything by it
        return "selectRandomVoice", loaded

    async def _get_changer(self, payload: Fields) -> tuple[str, Fields]:
        return "toggleVoiceChanger", {"value": self._switches().is_on}

    async def _toggle_changer(self, payload: Fields) -> tuple[str, Fields]:
        on = _wanted(payload, not self._switches().is_on)
        await self._change({"passthrough": not on})
        return "toggleVoiceChanger", {"value": on}

    async def _get_mute(self, payload: Fields) -> tuple[str, Fields]:
        return "toggleMuteMic", {"value": self._switches().is_muted}

    async def _toggle_mute(self, payload: Fields) -> tuple[str, Fields]:
        muted = _wanted(payload, not self._switches().is_muted)
        await self._change({"mute": muted})
        return "toggleMuteMic", {"value": muted}

    async def _get_hearing(self, payload: Fields) -> tuple[str, Fields]:
        return "toggleHearMyVoice", {"value": self._control.is_monitoring}

    async def _toggle_hearing(self, payload: Fields) -> tuple[str, Fields]:
        on = _wanted(payload, not self._control.is_monitoring)
        self._control.ask_to_monitor(on)
        return "toggleHearMyVoice", {"value": on}

    async def _send(self, content: Fields) -> None:
        await self._socket.send_str(json.dumps(content))


def _message(kind: str, content: Fields, identifier: object) -> dict[str, Any]:
    same = {"actionID": identifier, "actionId": identifier, "id": identifier}
    return {"actionType": kind, "appVersion": __version__, **same, "actionObject": content, "payload": content}


def _events(before: Switches, now: Switches) -> list[tuple[str, Fields]]:
    """What is told of a change, in Voicemod's words."""
    events: list[tuple[str, Fields]] = []
    if now.voice != before.voice:
        events.append(("voiceLoadedEvent", {"voiceID": now.voice}))
    for was, on, name in (
        (before.is_on, now.is_on, "voiceChanger"),
        (before.is_muted, now.is_muted, "muteMic"),
        (before.is_heard, now.is_heard, "hearMySelf"),
    ):
        if was != on:
            events.append((f"{name}{'Enabled' if on else 'Disabled'}Event", {}))
    return events


def _voice(identifier: str, name: str) -> Fields:
    return {
        "id": identifier,
        "friendlyName": name,
        "enabled": True,
        "isCustom": identifier != NO_VOICE,
        "favorited": False,
        "isNew": False,
        "isPurchased": True,
        "bitmapChecksum": "",
    }


def _wanted(payload: Fields, otherwise: bool) -> bool:
    """Some clients say what they want in place of a toggle."""
    value = payload.get("value")
    return value if isinstance(value, bool) else otherwise

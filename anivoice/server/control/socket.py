"""`/control`: a WebSocket that tells of all live sessions and takes commands; for panels, docks and scripts."""

import asyncio
import json
from collections.abc import Coroutine

from aiohttp import WSMsgType, web
from pydantic import JsonValue, ValidationError

from anivoice.errors import AnivoiceError, InvalidRequest, UpgradeRequired
from anivoice.parameters import describe_validation_error
from anivoice.server.control.control import CONTROL, Control, Topic
from anivoice.server.control.models import (
    ControlCommand,
    DoneEvent,
    MonitorEvent,
    PresetsEvent,
    RefusedEvent,
    SessionsEvent,
)
from anivoice.server.json_text import parse_object
from anivoice.server.live.events import Message
from anivoice.server.live.websocket import WANTS_UPGRADE

SUBPROTOCOL = "anivoice"
"""Pages offer it beside their key, and get it back."""

MAX_MESSAGE_BYTES = 2**16
HEARTBEAT_SECONDS = 20.0
INTERVAL_MS = 1000
MIN_PAUSE_SECONDS = 0.02
"""Changes that come together are told together."""


class ControlSocket:
    """One that watches and commands. `run` it once."""

    def __init__(self, control: Control, socket: web.WebSocketResponse, others: "set[ControlSocket]") -> None:
        self._control = control
        self._socket = socket
        self._others = others
        self._interval_s = INTERVAL_MS / 1000
        self._news: set[Topic] = {"sessions", "presets", "monitor"}
        self._has_news = asyncio.Event()

    async def run(self) -> None:
        """Until the client goes."""
        self._others.add(self)
        self._control.listeners.add(self._note)
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell(), name="anivoice-control")
                async for message in self._socket:
                    if message.type is WSMsgType.TEXT:
                        await self._take(message.data)
                telling.cancel()
        except* ConnectionError:
            pass  # the client has gone while something was sent
        finally:
            self._control.listeners.discard(self._note)
            self._others.discard(self)
            if not self._others:
                self._control.sessions.watch_levels(False)

    async def close(self) -> None:
        """Says farewell."""
        await self._socket.close(code=1001)

    def _note(self, topic: Topic) -> None:
        self._news.add(topic)
        self._has_news.set()

    async def _tell(self) -> None:
        """What is new at once, the sessions after every interval."""
        while not self._socket.closed:
            news, self._news = self._news, set()
            self._has_news.clear()
            for topic in sorted(news):
                try:
                    await self._send(await self._message(topic))
                except AnivoiceError as error:
                    await self._send(RefusedEvent(error=str(error)))
            await asyncio.sleep(MIN_PAUSE_SECONDS)
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._has_news.wait()
            except TimeoutError:
                self._news.add("sessions")

    async def _message(self, topic: Topic) -> Message:
        match topic:
            case "sessions":
                self._control.sessions.watch_levels(True)
                return SessionsEvent(sessions=self._control.sessions.infos(with_levels=True))
            case "presets":
                return PresetsEvent(presets=(await self._control.presets()).presets)
            case _:
                return MonitorEvent(on=self._control.is_monitoring)

    async def _take(self, text: str) -> None:
        request: JsonValue = None
        try:
            values = parse_object(text, "the message")
            request = values.get("request")  # type: ignore[assignment]
            command = _parse(values)
            errors = await self._carry_out(command)
        except AnivoiceError as error:
            await self._send(RefusedEvent(request=request, error=str(error)))
        else:
            await self._send(DoneEvent(request=request, errors=errors))

    async def _carry_out(self, command: ControlCommand) -> dict[str, str]:
        """What went wrong with single sessions, by their ids. Raises AnivoiceError."""
        control, public_ids = self._control, None if command.session is None else [command.session]
        errors: dict[str, str] = {}
        if command.interval_ms is not None:
            self._interval_s = command.interval_ms / 1000
            self._has_news.set()
        if command.monitor is not None:
            control.ask_to_monitor(command.monitor)
        if command.apply is not None:
            errors |= (await control.apply_preset(command.apply, public_ids)).errors
        if command.change is not None:
            errors |= (await control.sessions.change_all(command.change, public_ids)).errors
        if command.end:
            control.sessions.end(public_ids)
        return errors

    def _send(self, message: Message) -> Coroutine[object, object, None]:
        return self._socket.send_str(json.dumps(message.content()))


class ControlSockets(set[ControlSocket]):
    """All that are open."""


CONTROL_SOCKETS = web.AppKey("CONTROL_SOCKETS", ControlSockets)


async def open_control(request: web.Request) -> web.StreamResponse:
    """The handler."""
    socket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,), max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_SECONDS, compress=False
    )
    if not socket.can_prepare(request):
        raise UpgradeRequired(WANTS_UPGRADE)
    await socket.prepare(request)
    sockets: ControlSockets = request.app[CONTROL_SOCKETS]
    await ControlSocket(request.app[CONTROL], socket, sockets).run()
    return socket


async def close_control_sockets(app: web.Application) -> None:
    """The server is to end."""
    sockets: ControlSockets = app[CONTROL_SOCKETS]
    await asyncio.gather(*(one.close() for one in list(sockets)))


def _parse(values: dict[str, object]) -> ControlCommand:
    """Raises InvalidRequest."""
    try:
        return ControlCommand.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest(describe_validation_error(error, ControlCommand)) from error

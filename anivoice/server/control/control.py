"""What the routes, the control WebSocket and Voicemod's protocol have in common: one place that does it and tells."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from aiohttp import web

from anivoice.server.control.models import ChangeResult, Presets
from anivoice.server.control.presets import PresetStore
from anivoice.server.control.sessions import SessionControl
from anivoice.server.state import APP_STATE

Topic = Literal["sessions", "presets", "monitor"]
PRESETS_FILE = "presets.anivoice.json"


class Control:
    """Belongs to the event loop. `listeners` are told what has changed."""

    def __init__(self, app: web.Application) -> None:
        state = app[APP_STATE]
        self.listeners: set[Callable[[Topic], None]] = set()
        self.sessions = SessionControl(app, lambda: self.tell("sessions"))
        self.is_monitoring = False
        """Whether the clients are asked to play the changed voice to the speaker."""
        self._workers = state.workers
        self._store = PresetStore(state.settings.presets_file or state.settings.weights_dir / PRESETS_FILE)

    def tell(self, topic: Topic) -> None:
        """Those who watch that something has changed."""
        for listener in list(self.listeners):
            listener(topic)

    async def presets(self) -> Presets:
        """All named set-ups. Raises Unavailable if their file cannot be read."""
        return Presets(presets=await self._workers.run(self._store.all))

    async def preset(self, name: str) -> dict[str, Any]:
        """Raises NotFound."""
        return await self._workers.run(self._store.find, name)

    async def put_preset(self, name: str, values: dict[str, Any]) -> None:
        """Raises InvalidRequest, InvalidParameter."""
        await self._workers.run(self._store.put, name, values)
        self.tell("presets")

    async def delete_preset(self, name: str) -> None:
        """Raises NotFound."""
        await self._workers.run(self._store.delete, name)
        self.tell("presets")

    async def apply_preset(self, name: str, public_ids: Sequence[str] | None = None) -> ChangeResult:
        """To all sessions, or those named, at the same time. Raises NotFound."""
        return await self.sessions.change_all(await self.preset(name), public_ids)

    def ask_to_monitor(self, on: bool) -> None:
        """A wish to the clients: it is they who play."""
        self.is_monitoring = on
        self.tell("monitor")


CONTROL = web.AppKey("CONTROL", Control)

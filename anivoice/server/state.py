"""What the request handlers work with: made once in `app.build_app`, found at `request.app[APP_STATE]`."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from anivoice.config import Settings
from anivoice.engine.runtime import Runtime
from anivoice.metrics import Metrics
from anivoice.parameters import ConversionParameters
from anivoice.server.arrivals import Arrivals
from anivoice.server.auth import Caller, Keys
from anivoice.server.conversions import Conversions
from anivoice.server.engine_client import EngineClient
from anivoice.server.live.sessions import Sessions
from anivoice.server.live.voices import Sources
from anivoice.server.origins import OriginPolicy
from anivoice.server.readiness import WarmUp
from anivoice.server.web_files import WebFile
from anivoice.server.workers import Workers
from anivoice.voices.library import VoiceLibrary, read_settings


@dataclass(frozen=True)
class AppState:
    """The parts of one server. `openapi`: the description as JSON; `web_files`: the pages by address."""

    settings: Settings
    defaults: ConversionParameters
    runtime: Runtime
    workers: Workers
    keys: Keys
    arrivals: Arrivals
    conversions: Conversions
    sessions: Sessions
    sources: Sources
    metrics: Metrics
    warm_up: WarmUp
    origins: OriginPolicy
    openapi: bytes
    web_files: Mapping[str, WebFile]
    engine_client: EngineClient


APP_STATE = web.AppKey("APP_STATE", AppState)
CALLER: web.RequestKey[Caller] = web.RequestKey("CALLER", Caller)
"""Whose request it is; `middleware.guard` finds out."""


def known_voice(library: VoiceLibrary, name: str | None) -> str:
    """`name` if there is such a voice; None: the only voice. Reads the folder. Raises NotFound, InvalidParameter."""
    return library.find(name or library.default_name()).name


def voice_defaults(library: VoiceLibrary, name: str, defaults: ConversionParameters) -> ConversionParameters:
    """What holds for the voice where a request says nothing: its own defaults over the server's.

    Reads the voice's settings. Raises NotFound, InvalidModelFile.
    """
    own = read_settings(library.find(name)).defaults
    return ConversionParameters.parse(own, defaults) if own else defaults

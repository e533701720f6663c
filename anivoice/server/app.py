"""The application: its parts put together, started, stopped and served."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from anivoice import __version__
from anivoice.config import Settings
from anivoice.engine.runtime import Runtime, build_runtime
from anivoice.metrics import Metrics
from anivoice.parameters import ConversionParameters
from anivoice.server import middleware
from anivoice.server.arrivals import Arrivals
from anivoice.server.auth import Keys, warn_if_open
from anivoice.server.control.routes import add_control_routes
from anivoice.server.control.socket import CONTROL_SOCKETS, ControlSockets, close_control_sockets
from anivoice.server.control.voicemod_site import run_voicemod_site
from anivoice.server.conversions import Conversions
from anivoice.server.engine_client import EngineClient
from anivoice.server.event_loop import keep_turns_short, loop_factory
from anivoice.server.listener import HttpRunner, max_connections
from anivoice.server.live.sessions import Sessions
from anivoice.server.live.voices import Sources
from anivoice.server.live.websocket import CONNECTIONS, Connections, close_connections
from anivoice.server.openapi import openapi_document
from anivoice.server.origins import origin_policy
from anivoice.server.pages import add_page_routes
from anivoice.server.readiness import WarmUp
from anivoice.server.rest import add_routes
from anivoice.server.state import APP_STATE, AppState
from anivoice.server.tls import tls_context, uses_tls
from anivoice.server.voice_routes import add_voice_routes
from anivoice.server.web_files import load_web_files
from anivoice.server.workers import Workers

logger = logging.getLogger(__name__)

MAX_JSON_BYTES = 2**16
HOUSEKEEPING_SECONDS = 0.25
MAX_SHUTDOWN_SECONDS = 10.0
ENGINE_DIED_CODE = 70
"""EX_SOFTWARE of sysexits: who watches the process starts it again."""


def build_app(
    settings: Settings,
    defaults: ConversionParameters,
    runtime: Runtime | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The server as an aiohttp application. `runtime` (its engine not yet started) and `clock` are replaced by tests.

    Raises InvalidParameter when the chosen device does not exist.
    """
    state = build_state(settings, defaults, runtime or build_runtime(settings), clock)
    app = web.Application(
        middlewares=[middleware.observe, middleware.answer_errors, middleware.guard], client_max_size=MAX_JSON_BYTES
    )
    app[APP_STATE] = state
    app[CONNECTIONS] = Connections()
    app.on_response_prepare.append(middleware.add_headers)
    app[CONTROL_SOCKETS] = ControlSockets()
    add_routes(app)
    add_page_routes(app)
    add_voice_routes(app, state)
    add_control_routes(app)
    app.cleanup_ctx.append(run_voicemod_site)
    app.cleanup_ctx.append(_run_parts)
    app.on_shutdown.append(close_connections)
    app.on_shutdown.append(close_control_sockets)
    app.on_shutdown.append(_stop_accepting)
    return app


def build_state(
    settings: Settings, defaults: ConversionParameters, runtime: Runtime, clock: Callable[[], float]
) -> AppState:
    """The parts of the server, nothing started yet."""
    workers = Workers(settings.workers)
    sessions = Sessions(settings.max_sessions, settings.session_ttl_seconds, clock, settings.session_grace_seconds)
    state = AppState(
        settings=settings,
        defaults=defaults,
        runtime=runtime,
        workers=workers,
        keys=Keys(settings, clock),
        arrivals=Arrivals(
            settings.max_concurrent_conversions + settings.max_waiting_conversions,
            settings.max_uploads_per_peer,
            settings.max_stall_seconds,
        ),
        conversions=Conversions(settings.max_concurrent_conversions, settings.max_waiting_conversions, clock),
        sessions=sessions,
        sources=Sources(runtime, workers, sessions.give_way),
        engine_client=EngineClient(runtime.engine),
        metrics=Metrics(),
        warm_up=WarmUp(runtime, defaults, workers, clock),
        origins=origin_policy(settings),
        openapi=openapi_document(settings, defaults),
        web_files=load_web_files(),
    )
    _watch(state)
    return state


def _watch(state: AppState) -> None:
    engine, voices, conversions = state.runtime.engine, state.runtime.voices, state.conversions
    state.metrics.watch(
        ("gauge", "engine_queue_length", "Requests in the engine's queue.", lambda: engine.num_queued),
        ("counter", "engine_busy_seconds", "Time in which the engine computed.", lambda: engine.busy_s),
        ("gauge", "conversions_running", "Conversions that run.", lambda: conversions.num_running),
        (
            "gauge",
            "conversion_places_taken",
            "Conversions that are sent, wait, run or are fetched.",
            lambda: conversions.num_places_taken,
        ),
        ("gauge", "loaded_voices", "Voices in memory.", lambda: len(voices.loaded_names())),
        ("gauge", "loaded_voices_bytes", "Memory of the voices.", lambda: voices.num_bytes),
        ("gauge", "sessions", "Streaming sessions.", lambda: len(state.sessions)),
        ("gauge", "live_sessions", "Streaming sessions that are connected.", lambda: state.sessions.num_attached),
        ("gauge", "ready", "1 after a successful warm-up.", lambda: state.warm_up.state == "done"),
    )


async def _run_parts(app: web.Application) -> AsyncIterator[None]:
    """Starts the engine, the warm-up and the housekeeping; ends them, and the threads, after the last request."""
    state = app[APP_STATE]
    state.runtime.engine.start()
    state.warm_up.start()
    housekeeping = asyncio.create_task(_keep_house(state), name="anivoice-housekeeping")
    yield
    housekeeping.cancel()
    await asyncio.wait([housekeeping])
    state.sessions.close()
    await asyncio.to_thread(state.runtime.engine.stop)
    await state.warm_up.wait()
    await state.conversions.close()
    await state.workers.close()


async def _stop_accepting(app: web.Application) -> None:
    """The server is to end: what waits for the engine fails now, with a clear sentence, and gets its answer."""
    state = app[APP_STATE]
    state.conversions.refuse_new()
    state.warm_up.expect_end()
    await asyncio.to_thread(state.runtime.engine.stop)


async def _keep_house(state: AppState) -> None:
    """Measures how late the event loop is, and drops expired sessions."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + HOUSEKEEPING_SECONDS
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        state.metrics.loop_lag_seconds.observe(max(loop.time() - due_s, 0.0))
        state.sessions.sweep()


def serve(settings: Settings, defaults: ConversionParameters) -> int:
    """Serves until SIGINT or SIGTERM. Returns the exit code: 1 if the address cannot be listened on, ENGINE_DIED_CODE
    if the engine has ended by a fault.

    Raises InvalidParameter when the chosen device does not exist.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which of its builds it tries
    app = build_app(settings, defaults)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(app, settings))


async def _serve(app: web.Application, settings: Settings) -> int:
    context = tls_context(settings)
    stop = asyncio.Event()
    _on_signals(stop)
    engine, loop = app[APP_STATE].runtime.engine, asyncio.get_running_loop()
    engine.on_death = lambda: loop.call_soon_threadsafe(stop.set)
    runner = make_runner(app, MAX_SHUTDOWN_SECONDS)
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port, ssl_context=context).start()
        except OSError as error:
            logger.error(
                "cannot listen on %s port %d (%s): choose another with --host or --port",
                *(settings.host, settings.port, error.strerror or error),
            )
            return 1
        await _log_ready(app[APP_STATE], runner)
        async with asyncio.TaskGroup() as group:
            calming = group.create_task(keep_turns_short(app[APP_STATE].warm_up))
            await stop.wait()
            calming.cancel()
        logger.info("shutting down")
    finally:
        engine.on_death = lambda: None
        await runner.cleanup()
    return 0 if engine.problem is None else ENGINE_DIED_CODE


def make_runner(app: web.Application, shutdown_timeout_s: float) -> HttpRunner:
    """Serves the application, its connections bounded by the settings and by the files that the process may open."""
    state = app[APP_STATE]
    settings = state.settings

    def count(status: int) -> None:
        state.metrics.count_request("OTHER", "malformed", status, 0.0)

    return HttpRunner(
        app,
        max_connections=max_connections(settings.max_concurrent_conversions, settings.max_waiting_conversions),
        max_per_peer=settings.max_connections_per_peer,
        on_malformed=count,
        handler_cancellation=True,
        shutdown_timeout=shutdown_timeout_s,
        handle_signals=False,
    )


async def _log_ready(state: AppState, runner: web.AppRunner) -> None:
    warn_if_open(state.settings)
    scheme = "https" if uses_tls(state.settings) else "http"
    urls = ", ".join(f"{scheme}://{_shown_address(address)}" for address in runner.addresses)
    names = await state.workers.run(state.runtime.library.names)
    voices = ", ".join(names) if names else f"none, put a voice's .pth into {state.settings.weights_dir}"
    device = state.runtime.runner.device
    logger.info("anivoice %s is ready on %s (device %s, voices: %s)", __version__, urls, device, voices)


def _shown_address(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _on_signals(stop: asyncio.Event) -> None:
    """The first SIGINT or SIGTERM sets `stop`."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # event loops of Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))

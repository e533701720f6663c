"""A whole server on a thread of its own, at a free port of this machine: for commands and benchmarks that need one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from aiohttp import web

from anivoice.config import Settings
from anivoice.engine.runtime import Runtime
from anivoice.errors import AnivoiceError
from anivoice.parameters import ConversionParameters
from anivoice.server.app import build_app, make_runner
from anivoice.server.event_loop import keep_turns_short, loop_factory
from anivoice.server.state import APP_STATE, AppState

T = TypeVar("T")

HOST = "127.0.0.1"
MAX_SHUTDOWN_SECONDS = 5.0


class BackgroundServer:
    """`with BackgroundServer(settings, defaults) as server: ... server.base_url`.

    Listens on 127.0.0.1 whatever `settings` say, without their key; the rest of them applies.
    """

    def __init__(self, settings: Settings, defaults: ConversionParameters, runtime: Runtime | None = None) -> None:
        settings = settings.model_copy(update={"host": HOST, "port": 0, "api_key": None, "api_key_file": None})
        self._app = build_app(settings, defaults, runtime)
        self._started: Future[str] = Future()
        self._stop: Callable[[], object] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="anivoice-server", daemon=True)

    @property
    def state(self) -> AppState:
        """The server's parts; most belong to its event loop (see `call`)."""
        return self._app[APP_STATE]

    def __enter__(self) -> "BackgroundServer":
        self._thread.start()
        self.base_url = self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join()

    @contextmanager
    def at_url(self) -> Iterator[str]:
        """Runs for as long as the block, which gets the address."""
        with self:
            yield self.base_url

    def call(self, work: Coroutine[object, object, T]) -> "Future[T]":
        """Runs `work` on the server's event loop."""
        if self._loop is None:
            raise AnivoiceError("the server has not been started")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve())
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop = self._loop
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        runner = make_runner(self._app, MAX_SHUTDOWN_SECONDS)
        try:
            await runner.setup()
            await web.TCPSite(runner, HOST, 0).start()
            self._started.set_result(f"http://{HOST}:{runner.addresses[0][1]}")
            async with asyncio.TaskGroup() as group:
                calming = group.create_task(keep_turns_short(self.state.warm_up))
                await stop.wait()
                calming.cancel()
        finally:
            await runner.cleanup()

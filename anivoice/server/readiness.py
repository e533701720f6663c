"""The warm-up: the default voice, the content encoder and the pitch network are loaded before anybody asks."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

from anivoice.engine.batch import Job, WarmRequest
from anivoice.engine.runtime import Runtime
from anivoice.errors import AnivoiceError, InvalidModelFile, NotFound
from anivoice.offline import preload
from anivoice.parameters import ConversionParameters
from anivoice.server.workers import Workers
from anivoice.voices.voice import Voice

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
State = Literal["waiting", "running", "done", "failed"]


class WarmUp:
    """Runs in the background. Belongs to the event loop.

    A failure is told in `problem`, and tried again when somebody asks later: what was missing may have come meanwhile.
    """

    def __init__(
        self,
        runtime: Runtime,
        defaults: ConversionParameters,
        workers: Workers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state: State = "waiting"
        self.problem: str | None = None
        self.voice_name: str | None = None
        self.pitch_method: str | None = None
        self._runtime = runtime
        self._defaults = defaults
        self._workers = workers
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._ended_s = 0.0
        self._is_ending = False

    def start(self) -> None:
        """Begins a warm-up, unless one runs."""
        if self.state != "running":
            self.state = "running"
            self._task = asyncio.create_task(self._run(), name="anivoice-warm-up")

    def retry_if_failed(self) -> None:
        """Begins another one if the last failed and is some time ago."""
        if self.state == "failed" and self._clock() - self._ended_s >= RETRY_SECONDS:
            self.start()

    def expect_end(self) -> None:
        """The server is to end: a warm-up that fails now fails for that reason."""
        self._is_ending = True

    async def wait(self) -> None:
        """Until no warm-up runs. At the end of the server stop the engine before."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        problem: str | None = None
        try:
            await self._warm()
        except AnivoiceError as error:
            problem = str(error)
            logger.log(logging.INFO if self._is_ending else logging.WARNING, "warm-up failed: %s", error)
        except Exception:
            problem = "internal error; see the server's log"
            logger.exception("warm-up failed")
        self.problem = problem
        self.state = "done" if problem is None else "failed"
        self._ended_s = self._clock()

    async def _warm(self) -> None:
        await self._workers.run(preload)
        with ExitStack() as held:
            voice = await self._workers.run(self._acquire)
            held.callback(self._runtime.voices.release, voice)
            algo = await self._workers.run(self._pitch_algo) if voice.config.has_f0 else None
            self.voice_name, self.pitch_method = voice.name, algo
            await asyncio.wrap_future(self._runtime.engine.submit(WarmRequest(voice, algo), Job()))
            logger.info("warm: voice %s, pitch %s", voice.name, algo or "none")

    def _acquire(self) -> Voice:
        """The default voice; without one, the first that can be used: it brings the shared networks."""
        with_index = self._defaults.index_rate > 0
        if self._defaults.model_name is not None:
            return self._runtime.voices.acquire(self._defaults.model_name, with_index)
        problem: AnivoiceError = NotFound(
            f"there is no voice yet; put a voice's .pth into {self._runtime.library.weights_dir}"
        )
        for name in self._runtime.library.names():
            try:
                return self._runtime.voices.acquire(name, with_index)
            except InvalidModelFile as error:
                problem = error
        raise problem

    def _pitch_algo(self) -> str:
        pitch = self._runtime.runner.pitch
        algo = self._defaults.pitch_extraction_algo or pitch.default_method()
        pitch.require(algo)
        return algo

"""Threads for what would hold up the event loop: scanning folders, loading, reading and writing files."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import BinaryIO, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """A pool of `num_threads` threads for short work. Raises FileNotFoundError when no folder takes temporary files."""

    def __init__(self, num_threads: int) -> None:
        # At its first call Python tries the folder with a file that has a name: now, not when an upload begins.
        tempfile.gettempdir()
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="anivoice-worker")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call` on a worker thread. When the caller is cancelled, a call that runs is not waited for."""
        return await self._start(partial(call, *args, **kwargs))

    @asynccontextmanager
    async def temporary_file(self) -> AsyncIterator[BinaryIO]:
        """A file without a name, gone at the end of the block or when the process dies, however it dies."""
        opening = self._start(_open_temporary_file)
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda opened: opened.result().close())
            raise
        try:
            yield file
        finally:
            # Giving back the blocks of a large file takes a while. Nobody waits for it: a client that has its answer
            # and hangs up must not be taken for one that left early.
            self._start(file.close)

    async def close(self) -> None:
        """Waits for what still runs and ends the threads."""
        await asyncio.to_thread(self._threads.shutdown)

    def _start(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, call)


def _open_temporary_file() -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile(prefix="anivoice-"))

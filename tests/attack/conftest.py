"""A server under attack, and two honest clients beside it: one uploads, one streams."""

import asyncio
import io
import sys
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from server_process import SPEECH, ServerProcess, make_weights, running_server

from anivoice.client.stream_client import StreamClient

MAX_MORE_FILES = 4
MAX_MORE_MIB = 150.0
QUIET_S = 60.0


@pytest.fixture(scope="session")
def attacked_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def server(attacked_weights: Path) -> Iterator[ServerProcess]:
    if sys.platform == "win32":
        pytest.skip("counts descriptors")
    with running_server(attacked_weights) as started:
        yield started
        assert started.process.poll() is None, "it died: " + "".join(started.log[-20:])
        told = "".join(started.log)
        assert "Traceback" not in told, told[told.index("Traceback") - 500 :][:3000]


async def convert_honestly(url: str) -> int:
    """Status of an upload as anybody would send it."""
    form = aiohttp.FormData()
    form.add_field("audio_file", SPEECH.read_bytes(), filename="me.wav")
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.post(f"{url}/convert", data=form) as answer:
        await answer.read()
        return answer.status


async def _upload(url: str, statuses: list[int]) -> None:
    while True:
        statuses.append(await convert_honestly(url))
        await asyncio.sleep(0.2)


async def _stream(url: str, lost: list[int], is_over: asyncio.Event) -> None:
    """Nothing of a reliable stream may be missing, however slow the machine is."""
    with wave.open(io.BytesIO(SPEECH.read_bytes())) as file:
        audio = file.readframes(file.getnframes())
    parameters = {"sample_rate": 16000, "mode": "reliable", "block_ms": 160, "context_ms": 200, "passthrough": True}
    async with StreamClient.connect(url, parameters) as stream:
        while not is_over.is_set():
            await stream.send(audio[:32000])
            await asyncio.sleep(0.5)
        await stream.flush(300)
        lost.append(stream.num_sent_bytes - stream.num_received_bytes)


@pytest.fixture
def beside_honest_clients(server: ServerProcess) -> Callable[[], AbstractAsyncContextManager[None]]:
    """What is done in the block loses them nothing and leaves nothing behind."""

    @asynccontextmanager
    async def run() -> AsyncIterator[None]:
        assert await convert_honestly(server.url) == 200
        files, threads, mib = server.costs()
        statuses: list[int] = []
        lost: list[int] = []
        is_over = asyncio.Event()
        streaming = asyncio.create_task(_stream(server.url, lost, is_over))
        uploading = asyncio.create_task(_upload(server.url, statuses))
        yield
        is_over.set()
        await streaming
        while not statuses:  # noqa: ASYNC110 - at least one, however slow the machine is
            await asyncio.sleep(0.1)
        uploading.cancel()
        await asyncio.wait([uploading])
        assert lost == [0]
        assert set(statuses) == {200}
        await _until_quiet(server, files)
        _, threads_after, mib_after = server.costs()
        assert threads_after <= threads + 24, "threads of the pools are made when they are needed, and no others"
        assert mib_after - mib < MAX_MORE_MIB

    return run


async def _until_quiet(server: ServerProcess, files: int) -> None:
    async with asyncio.timeout(QUIET_S):
        while server.costs()[0] > files + MAX_MORE_FILES:  # noqa: ASYNC110 - another process closes them
            await asyncio.sleep(0.2)

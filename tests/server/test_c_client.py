"""clients/c: compiled with all warnings, against a running server; its bytes are those of the Python client."""

import asyncio
import ctypes
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_sockets import RATE_HZ, pcm, tone

from anivoice.client.stream_client import StreamClient
from anivoice.server.state import APP_STATE

FOLDER = Path(__file__).parents[2] / "clients" / "c"
GCC = shutil.which("gcc")
FLAGS = (
    *("-std=c99", "-D_POSIX_C_SOURCE=200112L", "-O2", "-Werror"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-fsanitize=undefined", "-fno-sanitize-recover"),
)
AUDIO, TEXT = 1, 2
LOST, ENDED, REFUSED = -2, -3, -4

pytestmark = [
    pytest.mark.skipif(GCC is None, reason="gcc is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="the client is built with POSIX flags here"),
]


def build(target: Path, *arguments: str) -> Path:
    assert GCC is not None
    subprocess.run([GCC, *FLAGS, *arguments, "-o", target], check=True)
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("c") / "anivoice_pipe", str(FOLDER / "anivoice_pipe.c"))


@pytest.fixture
def pipe(program: Path) -> Callable[..., Any]:
    """`code, audio, told = await pipe(client, audio, mode="reliable")`."""

    async def run(client: Any, audio: bytes, **parameters: object) -> tuple[int | None, bytes, str]:
        process = await asyncio.create_subprocess_exec(
            *(program, client.host, str(client.port), json.dumps(parameters)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        answer, told = await asyncio.wait_for(process.communicate(audio), 60)
        return process.returncode, answer, told.decode()

    return run


@pytest.mark.parametrize("is_real", [False, True])
async def test_same_bytes_as_python(serve_fake, serve_real, is_real, pipe):
    client = await (serve_real if is_real else serve_fake)()
    parameters = {"mode": "reliable", "preset": "low", "context_ms": 200, "sample_rate": RATE_HZ, "seed": 3}
    sent = pcm(tone(1.003))
    code, answer, told = await pipe(client, sent, **parameters)
    assert code == 0, told
    assert "promised delay" in told
    async with StreamClient.connect(str(client.make_url("/")), parameters) as stream:
        await stream.send(sent)
        await stream.flush()
        expected = b""
        while len(expected) < len(sent):
            expected += await stream.receive()
    assert answer == expected
    assert any(answer)


async def test_long_audio_all_at_once(serve_fake, pipe):
    """The server reads no more until its answers are taken."""
    client = await serve_fake()
    sent = pcm(tone(60.0))
    code, answer, told = await pipe(client, sent, mode="reliable", sample_rate=RATE_HZ, passthrough=True)
    assert (code, answer == sent) == (0, True), told


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [({"model_name": "nobody"}, "no voice"), ({"loudness": 1}, "loudness: no such parameter")],
)
async def test_refusals_are_told(serve_fake, pipe, parameters, sentence):
    code, _, told = await pipe(await serve_fake(), b"", **parameters)
    assert code == 1
    assert sentence in told


async def test_example_of_the_document(serve_fake, tmp_path):
    client = await serve_fake()
    [code] = re.findall(r"```c\n(.*?)```", (FOLDER.parents[1] / "docs" / "protocol.md").read_text("utf-8"), re.S)
    source = tmp_path / "example.c"
    source.write_text(code.replace("8000,", f"{client.port},"), "utf-8")
    program = build(tmp_path / "example", f"-I{FOLDER}", str(source))
    process = await asyncio.create_subprocess_exec(program, stdout=subprocess.PIPE)
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert told == b"48000 bytes came back\n"


class Options(ctypes.Structure):
    _fields_ = (
        ("host", ctypes.c_char_p),
        ("port", ctypes.c_int),
        ("api_key", ctypes.c_char_p),
        ("parameters", ctypes.c_char_p),
        ("timeout_ms", ctypes.c_int),
    )


class Message(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    flags = ("-shared", "-fPIC", "-x", "c", "-DANIVOICE_CLIENT_IMPLEMENTATION")
    built = build(tmp_path_factory.mktemp("c") / "anivoice.so", *flags, str(FOLDER / "anivoice_client.h"))
    functions = ctypes.CDLL(str(built))
    functions.anivoice_open.restype = ctypes.c_void_p
    functions.anivoice_open.argtypes = (ctypes.POINTER(Options), ctypes.c_char_p, ctypes.c_size_t)
    for name in ("send_audio", "send_text", "receive", "reopen", "close_code", "close"):
        getattr(functions, f"anivoice_{name}").argtypes = {
            "send_audio": (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
            "send_text": (ctypes.c_void_p, ctypes.c_char_p),
            "receive": (ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Message)),
            "reopen": (ctypes.c_void_p, ctypes.c_int),
        }.get(name, (ctypes.c_void_p,))
    functions.anivoice_number.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_double))
    return functions


class CStream:
    """One client of the library; every call on a thread, as the server runs in this one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._client: int | None = None

    async def open(self, client: Any, key: bytes | None = None, **parameters: object) -> str:
        """Empty, or why not."""
        options = Options(client.host.encode(), client.port, key, json.dumps(parameters).encode(), 30000)
        why = ctypes.create_string_buffer(256)
        self._client = await asyncio.to_thread(self._library.anivoice_open, options, why, 256)
        return "" if self._client else why.value.decode()

    async def call(self, name: str, *arguments: object) -> int:
        result = await asyncio.to_thread(getattr(self._library, f"anivoice_{name}"), self._client, *arguments)
        assert isinstance(result, int)
        return result

    async def receive(self, kind: int) -> bytes | int:
        """The next message of the kind, or what ended the stream."""
        message = Message()
        while (got := await self.call("receive", 20000, ctypes.byref(message))) > 0:
            if message.kind == kind:
                return ctypes.string_at(message.data, message.size)
        return got

    async def close(self) -> None:
        await asyncio.to_thread(self._library.anivoice_close, self._client)


@pytest.fixture
def stream(library: ctypes.CDLL) -> CStream:
    return CStream(library)


async def test_key_texts_and_farewell(serve_fake, stream, until):
    client = await serve_fake(api_key="correct-horse")
    assert "key" in await stream.open(client)
    assert await stream.open(client, b"correct-horse") == ""
    assert await stream.call("send_text", json.dumps({"ping": "x" * 70000}).encode()) == 1
    assert "longer than" in json.loads(await stream.receive(TEXT))["error"]
    assert await stream.call("send_text", b'{"ping": "hello"}') == 1
    assert json.loads(await stream.receive(TEXT)) == {"event": "pong", "ping": "hello"}
    await stream.close()
    await until(lambda: len(client.app[APP_STATE].sessions) == 0)


async def test_lost_connection_comes_back(serve_fake, stream, until):
    client = await serve_fake()
    assert await stream.open(client, sample_rate=RATE_HZ, mode="reliable", passthrough=True, events=True) == ""
    await stream.call("send_text", b"{}")
    assert b"ready" in await stream.receive(TEXT)
    abort_all(client)
    assert await stream.receive(AUDIO) == LOST
    await until(lambda: client.app[APP_STATE].sessions.num_attached == 0)
    assert await stream.call("reopen", 5000) == 1
    assert b"ready" in await stream.receive(TEXT)
    sent = pcm(tone(0.3))
    await stream.call("send_audio", sent, len(sent))
    assert sent.startswith(await stream.receive(AUDIO))
    await stream.close()


async def test_end_of_the_server(serve_fake, stream):
    client = await serve_fake()
    assert await stream.open(client) == ""
    await client.app.shutdown()
    assert b"shutting down" in await stream.receive(TEXT)
    assert await stream.receive(TEXT) == ENDED
    assert await stream.call("close_code") == 1013
    assert await stream.call("send_text", b"{}") == ENDED
    assert await stream.call("reopen", 1000) == REFUSED
    await stream.close()


def abort_all(client: Any) -> None:
    """As when the network goes away."""
    for connection in client.server.handler.connections:
        connection.transport.abort()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        (b'{"a": "total\\": 1", "total" : -2.5e1}', b"total", -25),
        (b'{"x": {"total": 3}, "total": 4}', b"total", 3),
        (b'{"total": "5"}', b"total", None),
        (b'{"totals": 6}', b"total", None),
        (b'{"a": "total', b"total", None),
        (b"", b"total", None),
    ],
)
def test_numbers_of_a_text(library, text, name, value):
    found = ctypes.c_double()
    assert library.anivoice_number(text, name, ctypes.byref(found)) == (value is not None)
    assert value is None or found.value == value

"""The server as a process: ready line, signals, an address that is taken, and what is left after a hard end."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anivoice.config import Settings
from anivoice.parameters import ConversionParameters
from anivoice.server import app as server_app

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
READY = re.compile(r"is ready on http://127\.0\.0\.1:(\d+) \(device cpu, voices: alice, .*whisper\)")


@pytest.fixture
def process(weights_dir: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`anivoice serve` on a free port, with a folder of its own for temporary files."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANIVOICE_")}
    environment |= {"TMPDIR": str(tmp_path), "MODEL_NAME": "whisper"}
    command = [sys.executable, "-m", "anivoice", "serve", "--port", "0", "--threads", "1", "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--weights-dir", str(weights_dir)], stderr=subprocess.PIPE, text=True, env=environment
    ) as started:
        yield started
        started.kill()


def wait_until_ready(process: subprocess.Popen[str]) -> int:
    """The port."""
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if (found := READY.search(line)) is not None:
            return int(found.group(1))
    raise AssertionError(told)


def ask(port: int, request: str) -> str:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request.encode())
        return connection.makefile("rb").read().decode()


@pytest.mark.slow
def test_serves_until_it_is_told_to_stop(process):
    port = wait_until_ready(process)
    answer = ask(port, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 OK")
    assert answer.endswith('{"message": "AniVoiceChanger API is running"}')
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode == 0
    assert "shutting down" in told
    assert "Traceback" not in told


def num_bytes_open_in(folder: Path, pid: int) -> int:
    """Size of the files of `folder` that the process holds open, those without a name, too (Linux)."""
    num_bytes = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(link.readlink()).startswith(str(folder)):
                num_bytes += link.stat().st_size
    return num_bytes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_in_the_middle_of_an_upload_leaves_no_file(process, tmp_path):
    port = wait_until_ready(process)
    head = b'--x\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /convert HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 1000000\r\n\r\n" + head + bytes(500000)
        )
        while num_bytes_open_in(tmp_path, process.pid) < 100000:
            pass
        process.kill()
        process.wait()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_address_that_is_taken_is_told(fake, make_settings, caplog):
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings: Settings = make_settings(port=other.getsockname()[1])
        app = server_app.build_app(settings, ConversionParameters(model_name="alice"), fake.runtime)
        assert await server_app._serve(app, settings) == 1
    assert "choose another with --host or --port" in caplog.text


async def test_stops_at_the_signal(fake, make_settings, caplog, until):
    caplog.set_level("INFO")
    settings = make_settings(port=0)
    app = server_app.build_app(settings, ConversionParameters(model_name="alice"), fake.runtime)
    serving = asyncio.create_task(server_app._serve(app, settings))
    await until(lambda: READY.search(caplog.text))
    os.kill(os.getpid(), signal.SIGINT)
    assert await serving == 0


def test_addresses_are_shown_as_links():
    assert server_app._shown_address(("127.0.0.1", 8000)) == "127.0.0.1:8000"
    assert server_app._shown_address(("::1", 8000, 0, 0)) == "[::1]:8000"

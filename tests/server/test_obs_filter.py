"""clients/obs: built against obs-studio's headers and driven by a stand-in for OBS, with a running server."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[2]
GCC, PKG_CONFIG = shutil.which("gcc"), shutil.which("pkg-config")
RATE_HZ = 48000
SECONDS = 2
MAX_SECONDS = 4
MAX_START_SECONDS = 40


def obs_flags(kind: str) -> list[str]:
    """Empty where libobs is not installed."""
    if PKG_CONFIG is None:
        return []
    found = subprocess.run([PKG_CONFIG, kind, "libobs"], capture_output=True, text=True, check=False)
    return found.stdout.split()


pytestmark = pytest.mark.skipif(GCC is None or not obs_flags("--libs"), reason="gcc or libobs is not installed")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("obs") / "host"
    assert GCC is not None
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", *obs_flags("--cflags")]
    sources = [FOLDER / "tests" / "obs" / "host.c", FOLDER / "clients" / "obs" / "anivoice-filter.c"]
    subprocess.run([GCC, *flags, *sources, "-o", target, *obs_flags("--libs"), "-lpthread"], check=True)
    return target


@pytest.fixture
def filtered(host: Path) -> Callable[..., Any]:
    """What the filter makes of samples that are said again and again, and its log: until two seconds after the first
    sound came back, or for `max_seconds`.
    """

    async def run(
        samples: NDArray[np.float32], max_seconds: int = MAX_START_SECONDS, **settings: object
    ) -> tuple[NDArray[np.float32], str]:
        process = await asyncio.create_subprocess_exec(
            *(host, str(SECONDS), str(max_seconds), json.dumps(settings)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        data, told = await asyncio.wait_for(process.communicate(samples.tobytes()), 60)
        assert process.returncode == 0, told
        return np.concatenate(list(packets(data))), told.decode()

    return run


def packets(data: bytes) -> Iterator[NDArray[np.float32]]:
    """Their samples; each begins where the one before ended."""
    at, end = 0, 0
    while at < len(data):
        start, count = np.frombuffer(data, "<u4", 2, at).tolist()
        assert start == end
        yield np.frombuffer(data, "<f4", count, at + 8)
        at, end = at + 8 + 4 * count, start + count


def voice() -> NDArray[np.float32]:
    """Every stretch of it is different, and no sample is 0."""
    time_s = (np.arange(3 * RATE_HZ) + 0.5) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * (200 + 100 * time_s) * time_s) + 0.01).astype(np.float32)


async def test_sound_keeps_its_time(serve_fake, filtered):
    """What comes from the server carries the times of what went in; what does not come is silence."""
    client = await serve_fake()
    spoken = voice()
    heard, told = await filtered(spoken, port=client.port, voice="alice", passthrough=True, preset="low")
    arrived = heard != 0
    assert arrived.sum() > 0.5 * RATE_HZ, told
    assert np.abs(heard - np.resize(spoken, len(heard)))[arrived].max() < 1e-3


async def test_converted_sound_comes(serve_fake, filtered):
    client = await serve_fake()
    heard, told = await filtered(voice(), port=client.port, voice="bob", pitch=3, preset="balanced")
    assert 0.1 < np.max(np.abs(heard)) < 0.25, told


async def test_without_a_server_there_is_silence_and_no_delay(filtered, unused_tcp_port):
    heard, told = await filtered(voice(), MAX_SECONDS, port=unused_tcp_port)
    assert np.array_equal(heard, np.zeros(len(heard), np.float32))
    assert "cannot reach the server" in told


async def test_a_refusal_is_logged(serve_fake, filtered):
    client = await serve_fake()
    _, told = await filtered(voice(), MAX_SECONDS, port=client.port, voice="nobody")
    assert "no voice" in told

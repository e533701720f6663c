"""The Live view with a fake microphone: what is played is what the Python client gets of the same audio."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestClient
from numpy.typing import NDArray
from playwright.async_api import Page, expect

from anivoice.client.stream_client import StreamClient
from anivoice.server.live.websocket import CONNECTIONS

Client = TestClient[web.Request, web.Application]
OpenPage = Callable[..., Awaitable[Page]]
Serve = Callable[..., Awaitable[Client]]
Samples = NDArray[np.float32]

FORCE_RATE = """
    const Real = AudioContext;
    globalThis.AudioContext = class extends Real { constructor(options) { super({ ...options, sampleRate: RATE }); } };
"""
NO_SHARING = "Object.defineProperty(globalThis, 'crossOriginIsolated', { value: false });"
RECORD_MS = 6000


def lag_of(late: Samples, early: Samples) -> int:
    """By how many samples `late` comes behind `early`, by the peak of their correlation."""
    size = 1 << (len(late) + len(early)).bit_length()
    spectrum = np.fft.rfft(late, size) * np.conj(np.fft.rfft(early, size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    return lag - size if lag > size // 2 else lag


async def record(page: Page, folder: Path) -> tuple[list[Samples], int]:
    """What went in, what came back and what was heard of it, and their rate."""
    await page.click("#record")
    await page.wait_for_timeout(RECORD_MS)
    await page.click("#record")
    sides = []
    for side in ("Before", "After", "As heard here"):
        async with page.expect_download() as download:
            await page.get_by_role("button", name=f"{side} (WAV)").click()
        await (await download.value).save_as(folder / f"{side}.wav")
        samples, rate_hz = soundfile.read(folder / f"{side}.wav", dtype="float32")
        sides.append(samples)
    return sides, rate_hz


async def start(page: Page) -> None:
    await page.click("#start")
    await expect(page.locator("#live-status")).to_contain_text("Your voice is now alice")
    await expect(page.locator("#delay-total")).to_contain_text("measured")


async def converted(client: Client, samples: Samples, rate_hz: int) -> Samples:
    parameters = {"model_name": "alice", "sample_rate": rate_hz, "mode": "reliable", "seed": 1, "gate_db": -60}
    async with StreamClient.connect(str(client.make_url("")), parameters) as stream:
        for start in range(0, len(samples), rate_hz // 10):
            await stream.send(samples[start : start + rate_hz // 10])
        await stream.flush()
        await stream.close()
        return np.concatenate([piece async for piece in stream.samples()])


@pytest.mark.parametrize(
    ("before", "rate_hz"),
    [
        ("", None),
        (FORCE_RATE.replace("RATE", "16000"), 16000),
        (FORCE_RATE.replace("RATE", "44100"), 44100),
        (NO_SHARING, None),
    ],
    ids=["device", "16kHz", "44.1kHz", "messages"],
)
async def test_what_is_played_is_what_was_converted(
    open_page: OpenPage, serve_fake: Serve, tmp_path: Path, before: str, rate_hz: int | None
) -> None:
    client = await serve_fake()
    page = await open_page(client, before=before)
    await start(page)
    (spoken, received, played), found_hz = await record(page, tmp_path)
    assert rate_hz in (None, found_hz)
    assert len(spoken) == len(played)
    expected = await converted(client, spoken, found_hz)
    lag = lag_of(received, expected)
    length = min(len(received) - lag, len(expected) - found_hz // 2)
    assert length > 3 * found_hz
    # From end to end with one lag: nothing is missing and nothing comes twice.
    assert np.corrcoef(received[lag : lag + length], expected[:length])[0, 1] > 0.99


async def test_a_preset_changes_while_one_speaks(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake())
    await start(page)
    await page.select_option("#live-preset", "low")
    await expect(page.locator("#delay-rows")).to_contain_text("Block\n80 ms", use_inner_text=True)
    await expect(page.locator("#live-problem")).to_be_hidden()


async def test_a_lost_connection_is_taken_up_again(open_page: OpenPage, serve_fake: Serve) -> None:
    client = await serve_fake()
    page = await open_page(client)
    await start(page)
    for connection in list(client.app[CONNECTIONS]):
        connection._sender._transport.abort()
    await expect(page.locator("#live-status")).to_contain_text("Taking it up again")
    await expect(page.locator("#live-status")).to_contain_text("Your voice is now alice")


async def test_a_server_that_is_gone_and_an_insecure_page_are_told(open_page: OpenPage, serve_fake: Serve) -> None:
    client = await serve_fake()
    page = await open_page(client, before="Object.defineProperty(globalThis, 'isSecureContext', { value: false });")
    await page.click("#start")
    await expect(page.locator("#live-problem")).to_contain_text("anivoice serve --https")
    page = await open_page(client)
    await client.close()
    await page.click("#start")
    await expect(page.locator("#live-problem")).to_contain_text("The server does not answer")
    await expect(page.locator("#start")).to_contain_text("Start")

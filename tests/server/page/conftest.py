"""A real Chromium whose microphone hears a recording."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from aiohttp import web
from aiohttp.test_utils import TestClient
from conformance import OWN_VECTORS
from playwright.async_api import Page, Route, async_playwright, expect

Client = TestClient[web.Request, web.Application]
OpenPage = Callable[..., Awaitable[Page]]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]
PATIENCE_MS = 60_000
"""Nothing is measured by it: other work may hold up the machine."""

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if CHROMIUM is None and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs Chromium"))


@pytest.fixture(scope="session")
def microphone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake microphone hears, again and again: speech, 48 kHz."""
    samples, rate_hz = soundfile.read(OWN_VECTORS / "audio" / "speech_long_16k.wav", dtype="float32")
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(path, soxr.resample(samples[: 20 * rate_hz], rate_hz, 48000).astype(np.float32), 48000)
    return path


@pytest.fixture
async def open_page(microphone_file: Path) -> AsyncIterator[OpenPage]:
    """`await open_page(client, "#files", color_scheme="dark")`: the page, ready. A script that fails fails the test."""
    errors: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-audio-capture={microphone_file}"]
        )

        async def open_one(
            client: Client, path: str = "/", before: str = "", is_ready: bool = True, **options: object
        ) -> Page:
            context = await browser.new_context(locale="en", **options)  # type: ignore[arg-type]
            page = await context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.route("**/convert/stream", _reliable)
            if before:
                await page.add_init_script(before)
            await page.goto(str(client.make_url("/")) + path.lstrip("/"))
            if is_ready:
                await page.wait_for_selector("html[data-ready]")
            return page

        yield open_one
        await browser.close()
    assert errors == []


async def _reliable(route: Route) -> None:
    """Streams whose blocks are never dropped, however busy the machine is."""
    values = {**route.request.post_data_json, "mode": "reliable", "seed": 1}
    await route.continue_(post_data=values)


@pytest.fixture
def screenshots() -> Path | None:
    """Where pictures of the page go, if `ANIVOICE_SCREENSHOTS` names a folder."""
    folder = os.environ.get("ANIVOICE_SCREENSHOTS")
    return Path(folder) if folder else None

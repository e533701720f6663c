"""The two pages as a person uses them, in a real Chromium."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestClient
from playwright.async_api import Page, async_playwright, expect

Client = TestClient[web.Request, web.Application]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """An empty tab; errors in a page's script fail the test."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        await browser.close()
        assert errors == []


@pytest.fixture
def recording(speech: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "me.wav"
    path.write_bytes(speech)
    return path


async def test_a_recording_is_converted_and_can_be_heard_and_saved(
    page: Page, serve_real: Callable[..., Awaitable[Client]], recording: Path, tmp_path: Path
) -> None:
    client = await serve_real()
    await page.goto(str(client.make_url("/")))
    await expect(page.locator("#voice option")).to_have_count(6)
    await page.select_option("#voice", "alice")
    await page.set_input_files("#file", recording)
    await page.fill("#pitch", "12")
    await expect(page.locator("#pitch-shown")).to_have_text("+12 semitones")
    await page.select_option("#format", "flac")
    await page.click("#go")
    await expect(page.locator("#result")).to_be_visible(timeout=30_000)
    await expect(page.locator("#facts")).to_contain_text("pitch method pm")
    async with page.expect_download() as download:
        await page.click("#download")
    saved = await download.value
    assert saved.suggested_filename == "me_alice.flac"
    await saved.save_as(tmp_path / "saved.flac")
    source, result = soundfile.info(recording), soundfile.info(tmp_path / "saved.flac")
    assert result.format == "FLAC"
    assert result.duration == pytest.approx(source.duration, abs=1e-4)
    heard_s = await page.evaluate(
        """() => new Promise((done) => {
            const player = document.getElementById("player");
            const tell = () => done(player.duration);
            if (player.readyState >= 1) tell(); else player.addEventListener("loadedmetadata", tell);
        })"""
    )
    assert heard_s == pytest.approx(source.duration, abs=0.05)


async def test_an_error_of_the_server_is_shown(
    page: Page, serve_real: Callable[..., Awaitable[Client]], recording: Path
) -> None:
    client = await serve_real()
    await page.goto(str(client.make_url("/")))
    await page.select_option("#voice", "broken")
    await page.set_input_files("#file", recording)
    await page.click("#go")
    await expect(page.locator("#status")).to_contain_text("broken.pth", timeout=30_000)
    await expect(page.locator("#result")).to_be_hidden()


async def test_a_key_is_asked_for(page: Page, serve_real: Callable[..., Awaitable[Client]]) -> None:
    client = await serve_real(api_key="a-long-secret")
    await page.goto(str(client.make_url("/")))
    await expect(page.locator("#key")).to_be_visible()
    await page.fill("#key", "a-long-secret")
    await page.press("#key", "Tab")
    await expect(page.locator("#voice option")).to_have_count(6)


async def test_the_interface_is_described(page: Page, serve_real: Callable[..., Awaitable[Client]]) -> None:
    client = await serve_real()
    await page.goto(str(client.make_url("/docs")))
    await expect(page.locator("body")).to_contain_text("/convert")
    for name in ("pitch_change", "formant_shift", "output_format", "Retry-After"):
        await expect(page.locator("body")).to_contain_text(name)

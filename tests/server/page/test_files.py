"""The Files view as a person uses it: recordings in, changed recordings out."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestClient
from playwright.async_api import Page, expect

Client = TestClient[web.Request, web.Application]
OpenPage = Callable[..., Awaitable[Page]]
Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
def recording(speech: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "me.wav"
    path.write_bytes(speech)
    return path


async def test_a_recording_is_converted_and_can_be_heard_and_saved(
    open_page: OpenPage, serve_real: Serve, recording: Path, tmp_path: Path
) -> None:
    page = await open_page(await serve_real(), "#files")
    await page.select_option("#file-model_name", "alice")
    await page.fill("#file-pitch_change", "12")
    await page.select_option("#file-output_format", "flac")
    await page.set_input_files("#file", recording)
    job = page.locator(".job")
    await expect(job).to_contain_text("Pitch method pm")
    await expect(job.locator(".time")).to_contain_text("/ 0:02")
    async with page.expect_download() as download:
        await job.get_by_role("button", name="Save as FLAC").click()
    saved = await download.value
    assert saved.suggested_filename == "me_alice.flac"
    await saved.save_as(tmp_path / "saved.flac")
    source, result = soundfile.info(recording), soundfile.info(tmp_path / "saved.flac")
    assert result.format == "FLAC"
    assert result.duration == pytest.approx(source.duration, abs=1e-4)


async def test_before_and_after_play_together(open_page: OpenPage, serve_fake: Serve, recording: Path) -> None:
    page = await open_page(await serve_fake(), "#files")
    await page.set_input_files("#file", recording)
    player = page.locator(".player")
    await player.get_by_role("slider").fill("1.5")
    await player.get_by_label("Before").check()
    await expect(player.get_by_label("Before")).to_be_checked()
    await player.get_by_role("button", name="Play").click()
    await expect(player.get_by_role("button", name="Pause")).to_be_visible()
    await expect(player.get_by_role("button", name="Play")).to_be_visible(timeout=60_000)
    await expect(player.locator(".time")).to_contain_text("0:02 / 0:02")


async def test_a_recording_of_the_browser_itself_is_understood(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake(), "#files")
    button = page.locator("#record-file")
    await button.click()
    await expect(button).to_contain_text("Stop, 1 s")
    await button.click()
    await expect(page.locator(".job")).to_contain_text("recording.webm")
    await expect(page.locator(".job .player")).to_be_visible(timeout=60_000)


async def test_an_error_of_the_server_is_shown(open_page: OpenPage, serve_real: Serve, recording: Path) -> None:
    page = await open_page(await serve_real(), "#files")
    await page.select_option("#file-model_name", "broken")
    await page.set_input_files("#file", recording)
    await expect(page.locator(".job .problem")).to_contain_text("broken.pth")
    await expect(page.locator(".player")).to_have_count(0)


async def test_a_key_is_asked_for_and_kept_for_the_session(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake(api_key="a-long-secret"), is_ready=False)
    await page.fill("#key", "a-wrong-secret")
    await page.press("#key", "Enter")
    await expect(page.locator("#key-problem")).to_contain_text("not the key")
    await page.fill("#key", "a-long-secret")
    await page.press("#key", "Enter")
    await expect(page.locator("#live-model_name option")).to_have_count(6)
    await page.reload()
    await expect(page.locator("#live-model_name option")).to_have_count(6)
    await expect(page.locator("#key-dialog")).to_be_hidden()


async def test_the_interface_is_described(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake(), "/docs", is_ready=False)
    await expect(page.locator("body")).to_contain_text("/convert")
    for name in ("pitch_change", "formant_shift", "output_format", "Retry-After"):
        await expect(page.locator("body")).to_contain_text(name)

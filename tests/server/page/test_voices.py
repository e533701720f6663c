"""The Voices view as a person uses it: voices come, are changed, and go."""

import shutil
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from playwright.async_api import Page, expect

Client = TestClient[web.Request, web.Application]
OpenPage = Callable[..., Awaitable[Page]]
Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
def own_weights(weights_dir: Path, tmp_path: Path) -> Path:
    """A folder that a test may change."""
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(weights_dir / "alice.pth", folder / "alice.pth")
    return folder


async def test_a_voice_comes_is_changed_and_goes(
    open_page: OpenPage, serve_fake: Serve, fake: object, own_weights: Path, weights_dir: Path, tmp_path: Path
) -> None:
    fake.runtime.library.weights_dir = own_weights  # type: ignore[attr-defined]
    page = await open_page(await serve_fake(), "#voices")
    page.on("dialog", lambda dialog: dialog.accept())
    shared = tmp_path / "Joanna.zip"
    with zipfile.ZipFile(shared, "w") as archive:
        archive.write(weights_dir / "bob.pth", "Joanna/Joanna.pth")
        archive.writestr("Joanna/readme.txt", "hello")
    await page.set_input_files("#voice-file", shared)
    await expect(page.locator("#voices-status")).to_contain_text("Added: Joanna")
    card = page.locator(".voice", has_text="Joanna")
    await expect(card).to_contain_text("40 kHz")
    await card.get_by_role("button", name="Change").click()
    await page.fill("#voice-name", "Jo")
    await page.fill("#defaults-pitch_change", "5")
    await page.click("#voice-form button.primary")
    await expect(page.locator("#voices-status")).to_contain_text("Jo is changed")
    card = page.locator(".voice", has_text="Jo")
    await card.get_by_role("button", name="Use live").click()
    await expect(page.locator("#live-pitch_change")).to_have_value("5")
    await page.click("a[href='#voices']")
    await card.get_by_role("button", name="Remove").click()
    await expect(page.locator("#voices-status")).to_contain_text("Jo is removed")
    assert not any((own_weights / name).exists() for name in ("Jo.pth", "Joanna.pth"))


async def test_a_file_that_is_no_voice_is_refused_in_words(
    open_page: OpenPage, serve_fake: Serve, fake: object, own_weights: Path, tmp_path: Path
) -> None:
    fake.runtime.library.weights_dir = own_weights  # type: ignore[attr-defined]
    page = await open_page(await serve_fake(), "#voices")
    broken = tmp_path / "eve.pth"
    broken.write_bytes(b"not a voice")
    await page.set_input_files("#voice-file", broken)
    await expect(page.locator("#voices-problem")).to_contain_text("eve.pth")
    await expect(page.locator(".voice")).to_have_count(1)


async def test_where_voices_may_not_be_changed_nothing_offers_it(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake(voice_changes="off"), "#voices")
    await expect(page.locator(".voice")).to_have_count(6)
    await expect(page.locator("#voice-drop")).to_be_hidden()
    await expect(page.get_by_role("button", name="Remove")).to_have_count(0)


async def test_a_voice_is_heard_before_it_is_used(open_page: OpenPage, serve_real: Serve) -> None:
    page = await open_page(await serve_real(), "#voices")
    card = page.locator(".voice", has_text="alice")
    async with page.expect_response("**/models/alice/preview*") as answered:
        await card.get_by_role("button", name="Listen").click()
    answer = await answered.value
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    await expect(card.get_by_role("button", name="Listen")).to_have_text("Listen")
    await expect(card.locator(".problem")).to_be_hidden()

"""For everybody: by keyboard alone, with a screen reader, light and dark, from 320 px to wide, in German."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from playwright.async_api import Page, expect

Client = TestClient[web.Request, web.Application]
OpenPage = Callable[..., Awaitable[Page]]
Serve = Callable[..., Awaitable[Client]]

AXE = Path(__file__).parents[2] / "vendor" / "axe-core" / "axe.min.js"
VIEWS = {"live": "#live", "files": "#files", "voices": "#voices", "docs": "/docs"}
FIND_VIOLATIONS = """async () => (await axe.run()).violations.map(({ id, nodes }) =>
    [id, ...nodes.map(({ html, failureSummary }) => html.slice(0, 200) + failureSummary)])"""


async def show_all(page: Page, view: str) -> None:
    """Everything that is folded away, opened; on Live a stream, on Files a result."""
    if view == "live":
        await page.click("#start")
        await expect(page.locator("#delay-total")).to_contain_text("ms")
        await page.check("#monitor")
    elif view == "files":
        await page.set_input_files("#file", Path(__file__).parents[2] / "data/conformance/audio/speech_short_16k.wav")
        await expect(page.locator(".player")).to_be_visible()
    elif view == "voices":
        await expect(page.locator(".voice")).to_have_count(6)
    elif view == "docs":
        await expect(page.locator("details").first).to_be_visible()
    await page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
async def test_no_barrier_is_found(
    open_page: OpenPage, serve_fake: Serve, screenshots: Path | None, view: str, scheme: str
) -> None:
    client = await serve_fake()
    size = {"width": 1280, "height": 900}
    page = await open_page(
        client, VIEWS[view], is_ready=view != "docs", color_scheme=scheme, bypass_csp=True, viewport=size
    )
    await show_all(page, view)
    await page.add_script_tag(path=AXE)
    assert await page.evaluate(FIND_VIOLATIONS) == []
    for width in (1280, 360, 320):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        if screenshots is not None:
            await page.screenshot(path=screenshots / f"{view}-{scheme}-{width}.png", full_page=True)


async def test_by_keyboard_alone(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake())

    async def tab_to(selector: str) -> None:
        for _ in range(60):
            await page.keyboard.press("Tab")
            if await page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"no way to {selector}")

    await tab_to("#start")
    await page.keyboard.press("Enter")
    await expect(page.locator("#live-status")).to_contain_text("Your voice is now alice")
    await tab_to("#live-model_name")
    await page.keyboard.type("bob")
    await expect(page.locator("#live-status")).to_contain_text("Your voice is now bob")
    await page.locator("#main").focus()
    await page.keyboard.press("m")
    await expect(page.locator("#live-status")).to_contain_text("Nobody hears you")
    await page.keyboard.press("s")
    await expect(page.locator("#live-status")).to_contain_text("Stopped")


async def test_in_german(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake())
    await page.select_option("#language", "de")
    await expect(page.locator("#start")).to_contain_text("Start")
    await expect(page.locator("#mute")).to_contain_text("Stumm")
    assert await page.evaluate("document.documentElement.lang") == "de"
    await page.wait_for_selector("html[data-ready]")


async def test_settings_are_kept_per_voice_and_as_set_ups(open_page: OpenPage, serve_fake: Serve) -> None:
    page = await open_page(await serve_fake())
    await page.fill("#live-pitch_change", "7")
    await page.select_option("#live-model_name", "bob")
    await expect(page.locator("#live-pitch_change")).to_have_value("0")
    await page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    await page.fill("#live-pitch_change", "-3")
    await page.fill("#setup-name", "evening")
    await page.click("#setup-save")
    await page.reload()
    await page.wait_for_selector("html[data-ready]")
    await expect(page.locator("#live-model_name")).to_have_value("bob")
    await page.select_option("#live-model_name", "alice")
    await expect(page.locator("#live-pitch_change")).to_have_value("7")
    await page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    await page.select_option("#setup", "evening")
    await expect(page.locator("#live-model_name")).to_have_value("bob")
    await expect(page.locator("#live-pitch_change")).to_have_value("-3")

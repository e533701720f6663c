"""The panel for OBS: what it shows of a session, and what its switches do."""

from playwright.async_api import expect

KEY = "correct-horse"


async def test_a_session_is_shown_and_switched(serve_fake, connect, open_page, tmp_path):
    client = await serve_fake(presets_file=tmp_path / "presets.json")
    page = await open_page(client, "/obs#add=100", is_ready=False)
    await expect(page.locator("#note")).to_contain_text("Nobody is speaking")
    await client.put("/presets/robot", json={"pitch_change": -5})
    socket = await connect(client, passthrough=True)
    await socket.send_json({"events": True})
    await expect(page.locator("#voice")).to_have_value("alice")
    await expect(page.locator("#passthrough")).to_have_attribute("aria-pressed", "true")
    await page.click("#mute")
    await expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    await page.select_option("#preset", "robot")
    await page.select_option("#voice", "bob")
    await expect(page.locator("#passthrough")).to_have_attribute("aria-pressed", "false")
    [session] = (await (await client.get("/sessions")).json())["sessions"]
    assert session["voice"] == "bob"
    assert session["parameters"]["mute"] is True
    assert session["parameters"]["pitch_change"] == -5
    delay = int((await page.locator("#delay").text_content()).split()[0])
    offset = int((await page.locator("#offset").text_content()).split()[0])
    assert -offset - delay in (99, 100, 101)


async def test_a_key_in_the_address_and_parts(serve_fake, open_page):
    client = await serve_fake(api_key=KEY)
    page = await open_page(client, f"/obs#key={KEY}&show=meters", is_ready=False)
    await expect(page.locator("#note")).to_contain_text("Nobody is speaking")
    await expect(page.locator("[data-part=meters]")).to_be_visible()
    await expect(page.locator("[data-part=delay]").first).to_be_hidden()

"""The small routes."""

import re

import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


async def test_greeting_for_programs(serve_fake):
    client = await serve_fake()
    async with client.get("/") as answer:
        assert answer.status == 200
        assert await answer.json() == {"message": "AniVoiceChanger API is running"}
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Server"] == "anivoice"
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])


@pytest.mark.parametrize(("path", "headers"), [("/", BROWSER), ("/docs", {})])
async def test_pages_need_nothing_from_elsewhere(serve_fake, path, headers):
    client = await serve_fake()
    async with client.get(path, headers=headers) as answer:
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r"(src|href)=.?(https?:)?//", page)
    assert "innerHTML" not in page


async def test_models_are_the_sorted_names(serve_fake):
    client = await serve_fake()
    async with client.get("/models") as answer:
        assert await answer.json() == {"models": ["alice", "bob", "broken", "mismatch", "vera", "whisper"]}


async def test_models_of_a_missing_folder_are_none(serve_fake, fake, tmp_path):
    fake.runtime.library.weights_dir = tmp_path / "nowhere"
    client = await serve_fake()
    async with client.get("/models") as answer:
        assert await answer.json() == {"models": []}


async def test_head_is_answered_without_a_body(serve_fake):
    client = await serve_fake()
    async with client.head("/models") as answer:
        assert answer.status == 200
        assert await answer.read() == b""


async def test_health(serve_fake):
    client = await serve_fake()
    async with client.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"pitch_change": 3.5, "model_name": "bob.pth"}'])
async def test_session_is_made_of_optional_parameters(serve_fake, body):
    client = await serve_fake()
    async with client.post("/convert/stream", data=body) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        session = await answer.json()
    assert session.keys() == {"session_id", "websocket_url", "expires_in"}
    assert session["websocket_url"] == "/ws/" + session["session_id"]
    assert session["expires_in"] == 60
    async with client.get(session["websocket_url"]) as answer:
        assert answer.status == 426
        assert "ws://" in (await answer.json())["error"]


async def test_sessions_have_different_secret_ids(serve_fake):
    client = await serve_fake()
    ids = set()
    for _ in range(5):
        async with client.post("/convert/stream") as answer:
            ids.add((await answer.json())["session_id"])
    assert len(ids) == 5
    assert all(len(name) >= 32 for name in ids)


async def test_expired_session_is_unknown(serve_fake, fake):
    client = await serve_fake(session_ttl_seconds=20)
    async with client.post("/convert/stream") as answer:
        url = (await answer.json())["websocket_url"]
    fake.clock.now_s += 20.5
    async with client.get(url, headers={"Upgrade": "websocket", "Connection": "Upgrade"}) as answer:
        assert answer.status == 404
        assert "POST /convert/stream" in (await answer.json())["error"]


async def test_too_many_sessions_are_told_when_to_come_back(serve_fake, fake):
    client = await serve_fake(max_sessions=1, session_ttl_seconds=20)
    async with client.post("/convert/stream") as answer:
        assert answer.status == 200
    fake.clock.now_s += 4.5
    async with client.post("/convert/stream") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "16")
    fake.clock.now_s += 16
    async with client.post("/convert/stream") as answer:
        assert answer.status == 200

"""The API key."""

import asyncio
import hashlib
import logging
import threading

import pytest

from anivoice.errors import InvalidParameter, Unauthorized
from anivoice.server.auth import LOOK_AGAIN_S, NO_LIMIT, Caller, Keys, warn_if_open
from anivoice.server.state import APP_STATE

KEY = "correct-horse"
FILE = """
[alice]
key = "correct-horse"
max_sessions = 2

[bob]
sha256 = "%s"
max_conversions = 1
"""
BOBS_KEY = "battery-staple"


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/openapi.json"])
async def test_open_routes(serve_fake, path):
    client = await serve_fake(api_key=KEY)
    async with client.get(path) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/ws/x"),
        ("GET", "/nowhere"),
        ("POST", "/convert"),
        ("POST", "/convert/stream"),
        ("POST", "/"),
    ],
)
@pytest.mark.parametrize("header", [None, "Bearer wrong-key", KEY, "Basic " + KEY, "Bearer", "Bearer " + KEY + "x"])
async def test_without_the_key(serve_fake, method, path, header):
    client = await serve_fake(api_key=KEY)
    headers = {} if header is None else {"Authorization": header}
    async with client.request(method, path, headers=headers) as answer:
        if (method, path) == ("POST", "/"):
            assert answer.status == 405
            return
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Authorization: Bearer KEY" in (await answer.json())["error"]
        assert KEY not in await answer.text()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_with_the_key(serve_fake, form, speech, scheme):
    client = await serve_fake(api_key=KEY)
    headers = {"Authorization": f"{scheme} {KEY}"}
    async with client.get("/models", headers=headers) as answer:
        assert answer.status == 200
    async with client.post("/convert", data=form(speech), headers=headers) as answer:
        assert answer.status == 200


async def test_key_is_not_in_the_log(serve_fake, caplog):
    caplog.set_level(logging.DEBUG)
    client = await serve_fake(api_key=KEY)
    async with client.get("/models", headers={"Authorization": "Bearer " + KEY}) as answer:
        assert answer.status == 200
    assert "GET /models -> 200" in caplog.text
    assert KEY not in caplog.text


def test_key_of_any_characters(make_settings):
    keys = Keys(make_settings(api_key="schlüssel"))
    assert keys.check("/models", "Bearer schlüssel", "peer").name == "the server's key"
    with pytest.raises(Unauthorized):
        keys.check("/models", "Bearer \udcff", "peer")


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(FILE % hashlib.sha256(BOBS_KEY.encode()).hexdigest(), "utf-8")
    return path


def bearer(key: str) -> str:
    return f"Bearer {key}"


def test_named_keys_and_their_limits(make_settings, key_file):
    keys = Keys(make_settings(api_key_file=key_file, api_key="the-server's-own"))
    assert keys.check("/models", bearer(KEY), "") == Caller("key alice", 2, NO_LIMIT)
    assert keys.check("/models", bearer(BOBS_KEY), "") == Caller("key bob", NO_LIMIT, 1)
    assert keys.check("/models", bearer("the-server's-own"), "").name == "the server's key"
    for wrong in (None, bearer("battery-staplE"), bearer(hashlib.sha256(BOBS_KEY.encode()).hexdigest()), KEY):
        with pytest.raises(Unauthorized):
            keys.check("/models", wrong, "")


def test_keys_change_without_a_restart(make_settings, key_file, caplog):
    now_s = 0.0
    keys = Keys(make_settings(api_key_file=key_file), lambda: now_s)
    key_file.write_text('[alice]\nkey = "another-key"\n', "utf-8")
    now_s += LOOK_AGAIN_S
    assert keys.check("/models", bearer("another-key"), "").name == "key alice"
    for old in (KEY, BOBS_KEY):
        with pytest.raises(Unauthorized):
            keys.check("/models", bearer(old), "")
    assert "another-key" not in caplog.text


@pytest.mark.parametrize("spoil", ["half a file [", "", "[x]\nkey = 'short'\n", None])
def test_a_key_file_that_is_spoilt_later_neither_opens_nor_locks(make_settings, key_file, caplog, spoil):
    now_s = 0.0
    keys = Keys(make_settings(api_key_file=key_file), lambda: now_s)
    if spoil is None:
        key_file.unlink()
    else:
        key_file.write_text(spoil, "utf-8")
    for _ in range(3):
        now_s += LOOK_AGAIN_S
        assert keys.check("/models", bearer(KEY), "").name == "key alice"
        with pytest.raises(Unauthorized):
            keys.check("/models", None, "")
    assert caplog.text.count("stay valid") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no key"),
        ("[x", "not TOML"),
        ("[x]\n", "either key or sha256"),
        ("[x]\nkey = 'secret1'\n", "x"),
        ("[x]\nsha256 = 'secret1'\n", "x"),
        ("[x]\nkey = 'long-enough'\nlimit = 3\n", "limit"),
        ("key = 'long-enough'\n", "is no table"),
        (None, "cannot be read"),
    ],
)
def test_key_file_that_cannot_be_used_is_told_at_the_start(make_settings, tmp_path, text, told):
    path = tmp_path / "x.toml"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(InvalidParameter, match=told) as caught:
        Keys(make_settings(api_key_file=path))
    assert "secret1" not in str(caught.value)
    assert "long-enough" not in str(caught.value)


async def test_a_key_has_its_own_limit_of_conversions(serve_fake, fake, form, speech, key_file, until):
    released = threading.Event()
    fake.runner.is_held = lambda request: not released.is_set()
    client = await serve_fake(api_key_file=key_file)

    async def convert(key: str) -> int:
        async with client.post("/convert", data=form(speech), headers={"Authorization": bearer(key)}) as answer:
            return answer.status

    first = asyncio.create_task(convert(BOBS_KEY))
    await until(lambda: client.app[APP_STATE].conversions.num_running == 1)
    assert await convert(BOBS_KEY) == 429
    other = asyncio.create_task(convert(KEY))
    await until(lambda: client.app[APP_STATE].conversions.num_running == 2)
    released.set()
    assert await asyncio.gather(first, other) == [200, 200]


@pytest.mark.parametrize(
    ("host", "api_key", "warns"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("::1", None, False),
        ("0.0.0.0", KEY, False),
        ("0.0.0.0", None, True),
        ("::", None, True),
        ("192.168.1.5", None, True),
    ],
)
def test_open_server_is_warned_about(make_settings, caplog, host, api_key, warns):
    warn_if_open(make_settings(host=host, api_key=api_key))
    assert ("ANIVOICE_API_KEY" in caplog.text) == warns


async def test_no_log_tells_what_suffices_to_take_over(serve_fake, connect, caplog, until):
    caplog.set_level(logging.DEBUG)
    client = await serve_fake()
    socket = await connect(client)
    async with client.post("/convert/stream") as answer:
        session_id = (await answer.json())["session_id"]
    for path in (f"/ws/{session_id}", f"/ws/{session_id}/", f"/nowhere/{session_id}?x={session_id}"):
        async with client.get(path):
            pass
    await socket.close()
    await until(lambda: "GET /ws/... -> 101" in caplog.text)
    assert session_id not in caplog.text
    assert "-> 499" not in caplog.text


async def test_a_client_that_drops_its_stream_is_no_broken_request(serve_fake, connect, caplog, until):
    caplog.set_level(logging.INFO)
    client = await serve_fake()
    socket = await connect(client)
    transport = socket._response.connection.transport
    transport.abort()
    await until(lambda: "GET /ws/... -> " in caplog.text)
    assert "-> 499" not in caplog.text
    await socket.close()


async def test_a_key_has_its_own_limit_of_sessions(serve_fake, key_file):
    client = await serve_fake(api_key_file=key_file)
    statuses = []
    for key in (KEY, KEY, KEY, BOBS_KEY):
        async with client.post("/convert/stream", headers={"Authorization": bearer(key)}) as answer:
            statuses.append(answer.status)
    assert statuses == [200, 200, 429, 200]

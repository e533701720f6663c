"""The API key."""

import logging

import pytest

from anivoice.errors import Unauthorized
from anivoice.server.auth import check_api_key, warn_if_open

KEY = "correct-horse"


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


def test_key_of_any_characters():
    check_api_key("schlüssel", "/models", "Bearer schlüssel")
    with pytest.raises(Unauthorized):
        check_api_key("schlüssel", "/models", "Bearer \udcff")


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

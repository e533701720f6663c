"""HTTPS: a certificate of our own, a given one, and what cannot be used."""

import ssl
import stat
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from anivoice.errors import InvalidParameter
from anivoice.server import tls


async def greet(request):
    return web.json_response({"secure": request.secure})


async def test_own_certificate_serves_the_names_of_this_machine(make_settings, tmp_path):
    context = tls.tls_context(make_settings(https=True), tmp_path)
    app = web.Application()
    app.router.add_get("/", greet)
    trusting = ssl.create_default_context(cafile=str(tls.own_certificate(tmp_path)))
    server = TestServer(app, scheme="https", host="localhost")
    await server.start_server(ssl=context)
    async with aiohttp.ClientSession() as http, http.get(server.make_url("/"), ssl=trusting) as answer:
        assert await answer.json() == {"secure": True}
    await server.close()


def test_own_certificate_stays_until_it_is_about_to_expire(tmp_path, monkeypatch):
    path = tls.own_certificate(tmp_path)
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tls.own_certificate(tmp_path).read_bytes() == first
    monkeypatch.setattr(tls, "RENEW_DAYS", tls.VALID_DAYS)
    assert tls.own_certificate(tmp_path).read_bytes() != first


def test_a_given_certificate_is_used(make_settings, tmp_path):
    path = tls.own_certificate(tmp_path)
    assert tls.tls_context(make_settings(tls_cert=path)) is not None
    assert tls.tls_context(make_settings()) is None


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_certificate_that_cannot_be_used_is_named(make_settings, tmp_path, content):
    path = tmp_path / "mine.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidParameter, match=r"tls_cert: .*mine\.pem cannot be used"):
        tls.tls_context(make_settings(tls_cert=path))


def test_a_key_alone_is_refused(make_settings):
    with pytest.raises(InvalidParameter, match="--tls-cert"):
        tls.tls_context(make_settings(tls_key=Path("key.pem")))

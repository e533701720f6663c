"""Which pages may call, and by which name the server is called."""

import pytest

from anivoice.errors import InvalidParameter
from anivoice.server.origins import is_loopback, normal_origin, origin_policy

FOREIGN = "https://evil.example"
LOCAL_HOSTS = ("192.168.1.5:8000", "[fe80::1]:8000", "localhost", "anivoice:8000", "studio.local", "nas.lan")


def own_origin(client) -> str:
    return f"http://{client.host}:{client.port}"


async def test_foreign_page_may_change_nothing(serve_fake, fake, form, speech):
    client = await serve_fake()
    for path, data in (("/convert", form(speech)), ("/convert/stream", b"{}")):
        async with client.post(path, data=data, headers={"Origin": FOREIGN}) as answer:
            assert answer.status == 403
            assert "ANIVOICE_ALLOWED_ORIGINS" in (await answer.json())["error"]
            assert "Access-Control-Allow-Origin" not in answer.headers
    assert fake.engine.jobs == []


async def test_foreign_page_may_not_open_a_websocket(serve_fake):
    client = await serve_fake()
    headers = {"Origin": FOREIGN, "Upgrade": "websocket", "Connection": "Upgrade"}
    async with client.get("/ws/x", headers=headers) as answer:
        assert answer.status == 403


async def test_foreign_page_may_read_nothing(serve_fake):
    client = await serve_fake()
    async with client.get("/models", headers={"Origin": FOREIGN}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin", ["null", "file://", "garbage", "http://127.0.0.1:1", "http://[", "https://a.b@evil.example"]
)
async def test_strange_origins_are_foreign(serve_fake, origin):
    client = await serve_fake(allowed_origins="https://a.b")
    async with client.post("/convert/stream", headers={"Origin": origin}) as answer:
        assert answer.status == 403


async def test_own_page_may_call(serve_fake):
    client = await serve_fake()
    async with client.post("/convert/stream", headers={"Origin": own_origin(client)}) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == own_origin(client)


@pytest.mark.parametrize("allowed", ["https://studio.example,http://other:3000", "*"])
async def test_allowed_page_may_call_and_read(serve_fake, form, speech, allowed):
    client = await serve_fake(allowed_origins=allowed)
    headers = {"Origin": "https://Studio.example:443"}
    async with client.post("/convert", data=form(speech), headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == headers["Origin"]
        assert "X-Anivoice-Seed" in answer.headers["Access-Control-Expose-Headers"]
    async with client.post("/convert", data=form(b"x"), headers=headers) as answer:
        assert answer.status == 415
        assert answer.headers["Access-Control-Allow-Origin"] == headers["Origin"]


@pytest.mark.parametrize("origin", ["null", "file://"])
async def test_pages_of_files_can_be_allowed(serve_fake, origin):
    client = await serve_fake(allowed_origins=origin)
    async with client.post("/convert/stream", headers={"Origin": origin}) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == origin
    async with client.post("/convert/stream", headers={"Origin": "https://a.example"}) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_the_machines_own_names_are_one_machine(serve_fake, host):
    client = await serve_fake()
    headers = {"Origin": f"http://{host}:{client.port}"}
    async with client.post("/convert/stream", headers=headers) as answer:
        assert answer.status == 200
    async with client.post("/convert/stream", headers={"Origin": f"http://{host}:{client.port + 1}"}) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("entry", ["studio.example", "https://", "https://a.example/path", "https:a.example", "a b"])
def test_an_entry_that_is_no_origin_is_refused_at_the_start(make_settings, entry):
    with pytest.raises(InvalidParameter, match="is no origin"):
        make_settings(allowed_origins=f"https://fine.example,{entry}")


async def test_preflight(serve_fake):
    client = await serve_fake(allowed_origins="https://studio.example", api_key="correct-horse")
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
        "Access-Control-Request-Private-Network": "true",
    }
    async with client.options("/convert", headers=asks | {"Origin": "https://studio.example"}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://studio.example"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
    async with client.options("/convert", headers=asks | {"Origin": FOREIGN}) as answer:
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_options_without_a_question_is_a_wrong_method(serve_fake):
    client = await serve_fake()
    async with client.options("/convert") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.9.9.9:80", "[::1]:8000", "app.localhost"]
)
async def test_loopback_names(serve_fake, host):
    client = await serve_fake()
    async with client.get("/models", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.168.1.5", "", "[", "a b"]
)
async def test_foreign_names_are_refused_on_the_loopback(serve_fake, host):
    client = await serve_fake()
    async with client.get("/models", headers={"Host": host}) as answer:
        assert answer.status == 403
        assert "ANIVOICE_ALLOWED_ORIGINS" in (await answer.json())["error"]


async def test_rebound_name_does_not_make_a_page_our_own(serve_fake):
    client = await serve_fake()
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}
    async with client.post("/convert/stream", headers=headers) as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({"allowed_origins": "https://voice.example"}, "voice.example", 200),
        ({"allowed_origins": "https://voice.example"}, "evil.example", 403),
        ({"allowed_origins": "*"}, "evil.example", 200),
        ({"host": "0.0.0.0"}, "evil.example", 403),
        ({"host": "0.0.0.0", "allowed_origins": "https://voice.example"}, "voice.example", 200),
        ({"host": "0.0.0.0", "api_key": "correct-horse"}, "anything.example", 401),
        *(({"host": "0.0.0.0"}, host, 200) for host in LOCAL_HOSTS),
    ],
)
async def test_names_that_are_allowed(serve_fake, settings, host, status):
    client = await serve_fake(**settings)
    async with client.get("/models", headers={"Host": host}) as answer:
        assert answer.status == status


def test_request_without_a_host_comes_from_no_browser(make_settings):
    origin_policy(make_settings()).check_host(None)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://A.example:443/", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:8000", "http://a.example:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("null", "null"),
        ("file://", "file://"),
        ("", None),
        ("http://a:99999", None),
    ],
)
def test_normal_form(text, normal):
    assert normal_origin(text) == normal


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost", True), ("127.1.2.3", True), ("::1", True), ("0.0.0.0", False), ("a.b", False)]
)
def test_loopback(host, expected):
    assert is_loopback(host) == expected

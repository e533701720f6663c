"""Sessions of live streams: who may connect, coming back, other voices, the end; nothing is left behind."""

import asyncio
import threading

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError
from live_sockets import flush, height, pcm, receive_until, tone

from anivoice.engine.batch import WarmRequest, WarmWindowRequest, WindowRequest
from anivoice.server.state import APP_STATE

KEY = "correct-horse"


@pytest.fixture
def num_held(loaded_voices):
    """How many users the loaded voices have beyond those of before."""

    def count() -> int:
        return sum(voice.num_users for voice in loaded_voices._voices.values())

    before = count()
    return lambda: count() - before


@pytest.fixture
def ready_socket(connect):
    """A connected socket whose stream has begun, with events."""

    async def begin(client, **values):
        socket = await connect(client, events=True, **values)
        await socket.send_json({})
        await receive_until(socket, "ready")
        return socket

    return begin


def lose(socket) -> None:
    """As when the network goes away."""
    socket._response.connection.transport.abort()


def url_of(socket) -> str:
    return socket._response.url.path


def sessions_of(client):
    return client.app[APP_STATE].sessions


def live_tasks() -> list[str]:
    return [name for task in asyncio.all_tasks() if (name := task.get_name()).startswith("anivoice-live")]


async def test_unknown_session_is_refused_before_the_upgrade(serve_fake):
    client = await serve_fake()
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect("/ws/unknown")
    assert caught.value.status == 404


async def test_expired_session_is_refused(serve_fake, fake, connect):
    client = await serve_fake(session_ttl_seconds=20)
    async with client.post("/convert/stream") as answer:
        url = (await answer.json())["websocket_url"]
    fake.clock.now_s += 21
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(url)
    assert caught.value.status == 404


async def test_session_suffices_as_a_key(serve_fake):
    client = await serve_fake(api_key=KEY)
    async with client.post("/convert/stream", headers={"Authorization": f"Bearer {KEY}"}) as answer:
        url = (await answer.json())["websocket_url"]
    async with client.ws_connect(url) as socket:
        await socket.send_json({"ping": 1})
        assert await socket.receive_json() == {"event": "pong", "ping": 1}
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect("/ws/unknown")
    assert caught.value.status == 401


async def test_foreign_page_may_not_use_a_session(serve_fake):
    client = await serve_fake()
    async with client.post("/convert/stream") as answer:
        url = (await answer.json())["websocket_url"]
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(url, origin="https://evil.example")
    assert caught.value.status == 403


async def test_second_connection_is_refused(serve_fake, ready_socket):
    client = await serve_fake()
    socket = await ready_socket(client)
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(url_of(socket))
    assert caught.value.status == 409
    await socket.send_bytes(pcm(tone(0.2)))
    assert len(await flush(socket)) == len(pcm(tone(0.2)))


async def test_lost_connection_comes_back(serve_fake, ready_socket, num_held, until):
    client = await serve_fake()
    socket = await ready_socket(client, seed=5)
    await socket.send_bytes(pcm(tone(0.7)))
    before = 0
    while before < len(pcm(tone(0.5))):
        before += len((await socket.receive(30)).data)
    lose(socket)
    await until(lambda: sessions_of(client).num_attached == 0)
    assert num_held() == 1
    again = await client.ws_connect(url_of(socket))
    _, [ready] = await receive_until(again, "ready")
    assert (ready["seed"], ready["voice"]) == (5, "alice")
    await again.send_bytes(pcm(tone(0.7)))
    after = await flush(again)
    # What was on the way may be lost with the connection, but no more than the delay.
    assert len(after) >= len(pcm(tone(0.7)))
    assert height(after) == pytest.approx(0.25, rel=0.15)
    await again.close()
    await until(lambda: len(sessions_of(client)) == 0)
    assert num_held() == 0


async def test_half_samples_do_not_outlive_a_connection(serve_fake, ready_socket, until):
    client = await serve_fake()
    socket = await ready_socket(client, passthrough=True)
    await socket.send_bytes(pcm(tone(0.3)) + b"\x7f")
    await receive_audio(socket)
    lose(socket)
    await until(lambda: sessions_of(client).num_attached == 0)
    again = await client.ws_connect(url_of(socket))
    await again.send_bytes(pcm(tone(0.4)))
    assert height(await flush(again)) == pytest.approx(0.5, abs=0.02)


async def receive_audio(socket) -> bytes:
    while (message := await socket.receive(30)).type is not WSMsgType.BINARY:
        pass
    return message.data


async def test_nobody_waits_longer_than_the_grace_time(serve_fake, fake, ready_socket, num_held, until):
    client = await serve_fake(session_grace_seconds=15)
    socket = await ready_socket(client)
    assert num_held() == 1
    assert fake.engine.admission.num_streams == 0
    lose(socket)
    await until(lambda: sessions_of(client).num_attached == 0)
    fake.clock.now_s += 15.5
    await until(lambda: num_held() == 0)
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(url_of(socket))
    assert caught.value.status == 404


async def test_connected_sessions_do_not_expire(serve_fake, fake, ready_socket):
    client = await serve_fake(session_ttl_seconds=10)
    socket = await ready_socket(client)
    fake.clock.now_s += 10000
    await client.get("/healthz")
    await socket.send_bytes(pcm(tone(0.2)))
    assert len(await flush(socket)) == len(pcm(tone(0.2)))


async def test_goodbye_ends_the_session(serve_fake, fake, ready_socket, num_held, until):
    client = await serve_fake()
    socket = await ready_socket(client, mode="live")
    assert (num_held(), fake.engine.admission.num_streams) == (1, 1)
    await socket.close()
    await until(lambda: len(sessions_of(client)) == 0)
    assert (num_held(), fake.engine.admission.num_streams) == (0, 0)
    assert live_tasks() == []


async def test_loss_in_the_middle_of_a_block(serve_fake, fake, ready_socket, num_held, until):
    released = threading.Event()
    fake.runner.is_held = lambda request: isinstance(request, WindowRequest) and not released.is_set()
    released.set()
    client = await serve_fake()
    socket = await ready_socket(client)
    released.clear()
    await socket.send_bytes(pcm(tone(0.5)))
    await until(lambda: fake.runner.num_held == 1)
    lose(socket)
    await until(lambda: sessions_of(client).num_attached == 0)
    await until(lambda: fake.engine.num_queued == 0)
    assert live_tasks() == []
    released.set()
    again = await client.ws_connect(url_of(socket))
    await again.send_bytes(pcm(tone(0.4)))
    assert height(await flush(again)) == pytest.approx(0.25, rel=0.15)


async def test_other_voice_takes_over_while_the_first_goes_on(serve_fake, fake, ready_socket, num_held, until):
    released = threading.Event()
    client = await serve_fake()
    socket = await ready_socket(client)
    await socket.send_bytes(pcm(tone(0.3)))
    assert height(await receive_audio(socket)) > 0
    load = fake.runtime.voices.acquire

    def slowly(name, with_index):
        released.wait(30)
        return load(name, with_index)

    fake.runtime.voices.acquire = slowly
    try:
        await socket.send_json({"model_name": "vera", "pitch_change": 4})
        await socket.send_bytes(pcm(tone(0.5)))
        assert height(await receive_audio(socket)) > 0
        assert {request.voice.name for request in live_requests(fake)} == {"alice"}
        released.set()
        _, texts = await receive_until(socket, "changed")
        assert texts[-1]["voice"] == "vera"
        await socket.send_bytes(pcm(tone(0.5)))
        await flush(socket)
    finally:
        fake.runtime.voices.acquire = load
    assert live_requests(fake)[-1].voice.name == "vera"
    assert live_requests(fake)[-1].pitch_change == 4
    assert any(isinstance(request, WarmRequest) and request.voice.name == "vera" for request in fake.runner.served)
    assert num_held() == 1
    await socket.close()
    await until(lambda: num_held() == 0)


def live_requests(fake) -> list[WindowRequest]:
    return [request for request in fake.runner.served if isinstance(request, WindowRequest)]


async def test_voice_that_cannot_be_loaded_leaves_the_stream_as_it_was(serve_fake, fake, ready_socket, num_held):
    client = await serve_fake()
    socket = await ready_socket(client)
    await socket.send_bytes(pcm(tone(0.3)))
    await socket.send_json({"model_name": "broken", "pitch_change": 9})
    await receive_until(socket, "error")
    await socket.send_bytes(pcm(tone(0.3)))
    await flush(socket)
    assert {(request.voice.name, request.pitch_change) for request in live_requests(fake)} == {("alice", 0)}
    assert num_held() == 1


async def test_shutdown_is_told(serve_fake, ready_socket):
    client = await serve_fake()
    socket = await ready_socket(client)
    await client.app.shutdown()
    _, texts = await receive_until(socket, "error")
    assert "shutting down" in texts[-1]["error"]
    assert (await socket.receive(30)).type is WSMsgType.CLOSE
    assert socket.close_code == 1013


async def test_connections_are_bounded_with_the_sessions(serve_fake, ready_socket):
    client = await serve_fake(max_sessions=1)
    await ready_socket(client)
    async with client.post("/convert/stream") as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0


async def test_many_come_and_go(serve_fake, connect, num_held, until):
    client = await serve_fake()
    for number in range(12):
        socket = await connect(client, mode=("live", "reliable")[number % 2])
        await socket.send_bytes(pcm(tone(0.1 * (number % 4))) or b"\0")
        if number % 3:
            await socket.close()
        else:
            lose(socket)
    sessions = sessions_of(client)
    await until(lambda: sessions.num_attached == 0)
    sessions.close()
    assert len(sessions) == 0
    assert num_held() == 0
    assert live_tasks() == []


async def test_dead_connection_makes_way_for_its_successor(serve_fake, ready_socket, until):
    """The first socket is open, but nobody answers there."""
    client = await serve_fake(max_stall_seconds=0.5)
    socket = await ready_socket(client, seed=4)
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(url_of(socket))
    assert caught.value.status == 409
    await until(lambda: sessions_of(client).num_attached == 0)
    again = await client.ws_connect(url_of(socket))
    _, [ready] = await receive_until(again, "ready")
    assert ready["seed"] == 4


async def test_pings_of_the_protocol_are_answered(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client)
    socket._autoping = False
    await socket.ping(b"hello")
    message = await socket.receive(30)
    assert (message.type, message.data) == (WSMsgType.PONG, b"hello")


async def test_streams_that_come_together_are_warmed_once(serve_fake, fake, ready_socket):
    client = await serve_fake()
    fake.runner.served.clear()
    await asyncio.gather(*(ready_socket(client, block_ms=240) for _ in range(4)))
    windows = [one.window for one in fake.runner.served if isinstance(one, WarmWindowRequest)]
    assert len([window for window in windows if window.layout.block_frames == 24]) == 1


@pytest.mark.parametrize(("records", "num_warmed"), [(True, 1), (False, 0)])
async def test_a_formant_shift_is_warmed_beside_the_stream_where_it_is_recorded(
    serve_fake, fake, ready_socket, records, num_warmed
):
    client = await serve_fake()
    socket = await ready_socket(client)
    await socket.send_bytes(pcm(tone(0.3)))
    fake.runner.records = records
    fake.runner.served.clear()
    await socket.send_json({"formant_shift": 3.5})
    await receive_until(socket, "changed")
    shifts = [one.window.options.formant_shift for one in fake.runner.served if isinstance(one, WarmWindowRequest)]
    assert shifts == [3.5] * num_warmed
    await socket.send_bytes(pcm(tone(0.3)))
    await flush(socket)
    assert fake.runner.served[-1].options.formant_shift == 3.5

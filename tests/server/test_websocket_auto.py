"""The preset `auto`. By the fake engine's clock a block costs three seconds: what fits is a matter of `max_load`."""

import pytest
from aiohttp import WSMsgType
from live_sockets import RATE_HZ, flush, pcm, receive_until, tone

from anivoice.engine.batch import WarmWindowRequest, WindowRequest

FITS_LOW = 60.0
"""With blocks of 40 ms no stream fits, with 80 ms one, and with 160 ms one more."""


async def ready_of(socket, **values):
    await socket.send_json(values)
    return (await receive_until(socket, "ready"))[1][-1]


def num_computed(fake) -> int:
    return sum(isinstance(request, WindowRequest | WarmWindowRequest) for request in fake.runner.served)


@pytest.fixture
def low_fits(fake):
    fake.engine.admission.max_load = FITS_LOW


async def test_auto_takes_the_shortest_blocks_that_fit(serve_fake, fake, connect, low_fits):
    client = await serve_fake()
    socket = await connect(client, mode="live", preset="auto", events=True)
    ready = await ready_of(socket)
    assert ready["preset"] == "low"
    lengths = ("block_ms", "context_ms", "crossfade_ms", "lookahead_ms")
    assert [ready[name] for name in lengths] == [80, 1500, 20, 40]
    assert ready["latency_ms"]["block"] == 80
    assert ready["latency_ms"]["computing"] == pytest.approx(3500, abs=500)
    assert fake.engine.admission.load == pytest.approx(3 / 0.08, rel=0.1)


async def test_the_next_session_decides_at_once(serve_fake, fake, connect, low_fits):
    client = await serve_fake()
    first = await connect(client, mode="live", preset="auto", events=True)
    await ready_of(first)
    before = num_computed(fake)
    assert before > 5
    await first.close()
    second = await connect(client, mode="live", events=True)
    assert (await ready_of(second, preset="auto"))["preset"] == "low"
    assert num_computed(fake) == before


async def test_another_stream_on_the_device_makes_them_longer(serve_fake, fake, connect, low_fits):
    client = await serve_fake()
    sockets = [await connect(client, mode="live", preset="auto", events=True) for _ in range(2)]
    assert [(await ready_of(socket))["preset"] for socket in sockets] == ["low", "balanced"]


async def test_a_stream_that_begins_again_keeps_its_lengths(serve_fake, connect, low_fits):
    client = await serve_fake()
    socket = await connect(client, mode="live", preset="auto", events=True)
    assert (await ready_of(socket))["preset"] == "low"
    assert (await ready_of(socket, output_sample_rate=48000))["preset"] == "low"


async def test_parameters_may_be_said_again_and_change(serve_fake, connect, low_fits):
    client = await serve_fake()
    socket = await connect(client, mode="live", preset="auto", events=True)
    await ready_of(socket)
    await socket.send_bytes(pcm(tone(0.3)))
    await socket.send_json({"preset": "auto", "pitch_change": 3, "model_name": "bob"})
    _, texts = await receive_until(socket, "changed")
    assert texts[-1]["voice"] == "bob"


async def test_the_preset_may_change_within_the_stream(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, events=True)
    await socket.send_bytes(pcm(tone(1.0)))
    await socket.send_json({"preset": "quality"})
    before, texts = await receive_until(socket, "changed")
    assert (texts[-1]["preset"], texts[-1]["block_ms"], texts[-1]["latency_ms"]["block"]) == ("quality", 320, 320)
    await socket.send_bytes(pcm(tone(1.0)))
    assert len(before) + len(await flush(socket)) == len(pcm(tone(2.0)))


async def test_where_nothing_fits_the_reason_is_told(serve_fake, fake, connect):
    client = await serve_fake()
    fake.engine.admission.max_load = 0.01
    socket = await connect(client, mode="live", preset="auto")
    await socket.send_bytes(pcm(tone(0.1)))
    _, texts = await receive_until(socket, "error")
    assert "a block of 960 ms" in texts[-1]["error"]
    assert (await socket.receive(30)).type is WSMsgType.CLOSE
    assert socket.close_code == 1013


async def test_a_full_device_answers_503(serve_fake, fake, connect, low_fits):
    client = await serve_fake()
    sockets = [await connect(client, mode="live", preset="auto", events=True) for _ in range(2)]
    for socket in sockets:
        await ready_of(socket)
    fake.engine.admission.max_load = 1.001 * fake.engine.admission.load
    async with client.post("/convert/stream", json={"preset": "auto", "sample_rate": RATE_HZ}) as answer:
        assert answer.status == 503
        assert "Retry-After" in answer.headers


async def test_a_reliable_stream_takes_no_share(serve_fake, fake, connect, low_fits):
    client = await serve_fake()
    for _ in range(3):
        socket = await connect(client, mode="reliable", preset="auto", events=True)
        assert (await ready_of(socket))["preset"] == "low"
    await socket.send_bytes(pcm(tone(0.5)))
    assert len(await flush(socket)) == len(pcm(tone(0.5)))

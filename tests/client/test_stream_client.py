"""The client of a live stream, against a stand-in that sends the audio back a little later."""

import asyncio

import numpy as np
import pytest

from anivoice.client.stream_client import StreamClient
from anivoice.errors import (
    AnivoiceError,
    InvalidParameter,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
)


async def take(stream, num_bytes):
    data = b""
    async with asyncio.timeout(10):
        while len(data) < num_bytes:
            data += await stream.receive()
    return data


async def collect(stream):
    return b"".join([data async for data in stream])


async def test_bytes_come_back_whole_after_a_flush(echo):
    audio = np.random.default_rng(0).bytes(12345)
    async with StreamClient.connect(echo.url, {"pitch_change": 3, "sample_rate": 16000}) as stream:
        for start in range(0, len(audio), 777):
            await stream.send(audio[start : start + 777])
        await stream.flush()
        await stream.close()
        assert await collect(stream) == audio
    assert echo.created == [{"events": True, "pitch_change": 3, "sample_rate": 16000}]
    assert echo.texts[0] == {"events": True, "sample_rate": 16000}


@pytest.mark.parametrize("wire_format", ["pcm_s16le", "pcm_f32le"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
async def test_samples_come_back(echo, wire_format, dtype):
    samples = (np.sin(np.arange(4800) / 20) * (20000 if dtype == "int16" else 0.5)).astype(dtype)
    async with StreamClient.connect(echo.url, {"format": wire_format}) as stream:
        await stream.send(samples)
        await stream.flush()
        await stream.close()
        received = np.concatenate([part async for part in stream.samples()])
    expected = samples / 32768 if dtype == "int16" else samples
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, expected, atol=1 / 32768)


async def test_stereo_is_interleaved(echo):
    samples = np.array([[1, 2], [3, 4]], np.int16)
    async with StreamClient.connect(echo.url, {"channels": 2}) as stream:
        await stream.send(samples)
        await stream.flush()
        assert (await stream.receive_samples() * 32768).tolist() == [1, 2, 3, 4]


async def test_samples_of_a_packed_format_are_refused(echo):
    async with StreamClient.connect(echo.url, {"format": "opus"}) as stream:
        with pytest.raises(InvalidParameter, match="opus"):
            await stream.send(np.zeros(480, np.float32))


async def test_samples_of_a_strange_type_are_refused(echo):
    async with StreamClient.connect(echo.url) as stream:
        with pytest.raises(InvalidParameter, match="int32"):
            await stream.send(np.zeros(4, np.int32))


async def test_ready_tells_the_delay_and_events_are_given(echo):
    seen = []
    async with StreamClient.connect(echo.url, on_event=seen.append) as stream:
        assert stream.latency_ms == {"block": 80.0, "computing": 10.0, "total": 90.0}
        assert (await stream.events.get())["event"] == "ready"
        assert [event["event"] for event in seen] == ["ready"]
        assert await stream.ping() >= 0
        assert (await stream.events.get())["event"] == "pong"


async def test_events_that_nobody_takes_are_bounded(echo):
    async with StreamClient.connect(echo.url) as stream:
        for number in range(1000):
            stream._tell({"event": "stats", "number": number})
        assert stream.events.qsize() == 256
        assert (await stream.events.get())["number"] == 744


async def test_without_events_a_flush_counts_samples(echo):
    async with StreamClient.connect(echo.url, {"events": False}) as stream:
        assert stream.latency_ms == {}
        await stream.send(bytes(6000))
        await stream.flush()
        assert stream.num_received_bytes == 6000
        with pytest.raises(InvalidRequest, match="events"):
            await stream.ping()
    assert echo.texts[0] == {"events": False}


async def test_parameter_changes_are_sent_and_refusals_raised(echo):
    async with StreamClient.connect(echo.url) as stream:
        await stream.set_parameters(pitch_change=5, mute=True)
        await stream.set_parameters(pitch_change=99)
        with pytest.raises(InvalidRequest, match="at most 36"):
            await stream.receive()
        await stream.send(bytes(1000))
        await stream.flush()
        assert await take(stream, 1000) == bytes(1000)
    assert echo.texts[1:3] == [{"pitch_change": 5, "mute": True}, {"pitch_change": 99}]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorized), (404, NotFound), (422, InvalidParameter), (400, InvalidRequest), (500, AnivoiceError)],
)
async def test_refused_sessions(echo, status, kind):
    echo.refuse_session = (status, "so it is", {})
    with pytest.raises(AnivoiceError, match="so it is") as caught:
        async with StreamClient.connect(echo.url):
            pass
    assert type(caught.value) is kind


async def test_a_busy_server_says_when_to_come_back(echo):
    echo.refuse_session = (503, "busy", {"Retry-After": "7"})
    with pytest.raises(Unavailable, match="busy") as caught:
        async with StreamClient.connect(echo.url):
            pass
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(("code", "kind"), [(1013, Unavailable), (1008, InvalidRequest), (1011, AnivoiceError)])
async def test_a_refused_start_is_raised_by_connect(echo, code, kind):
    echo.refuse_start = ("no room", code)
    with pytest.raises(AnivoiceError, match="no room") as caught:
        async with StreamClient.connect(echo.url):
            pass
    assert type(caught.value) is kind


async def test_nobody_there():
    with pytest.raises(Unavailable, match="cannot reach"):
        async with StreamClient.connect("http://127.0.0.1:9"):
            pass


async def test_key_is_sent(echo):
    async with StreamClient.connect(echo.url, api_key="very-secret"):
        assert echo.authorization == "Bearer very-secret"


async def test_the_server_ends_the_stream(echo):
    async with StreamClient.connect(echo.url) as stream:
        await stream.send(bytes(1000))
        await take(stream, 600)
        await echo.sockets[-1].send_json({"error": "too big"})
        await echo.sockets[-1].close(code=1009)
        with pytest.raises(InvalidRequest, match="too big"):
            await stream.receive()
        with pytest.raises(TooLarge, match="too big"):
            await stream.receive()
        with pytest.raises(TooLarge, match="too big"):
            await stream.send(bytes(10))
        with pytest.raises(TooLarge, match="too big"):
            await stream.flush()


async def test_a_normal_end(echo):
    async with StreamClient.connect(echo.url) as stream:
        await echo.sockets[-1].close()
        assert await stream.receive() == b""
        assert await collect(stream) == b""


async def test_a_lost_connection_comes_back_and_goes_on(echo):
    async with StreamClient.connect(echo.url) as stream:
        await stream.send(b"a" * 1000)
        first = await take(stream, 600)
        await echo.cut()
        async with asyncio.timeout(10):
            while (await stream.events.get())["event"] != "reconnected":
                pass
        await stream.send(b"b" * 1000)
        await stream.flush()
        assert first + await take(stream, 1400) == b"a" * 1000 + b"b" * 1000
        assert stream.num_reconnects == 1
    assert len(echo.created) == 1
    assert len(echo.sockets) == 2


async def test_audio_sent_while_the_connection_is_away_waits_for_it(echo):
    async with StreamClient.connect(echo.url) as stream:
        await echo.cut()
        async with asyncio.timeout(10):
            while stream.num_reconnects == 0:
                await stream.send(b"a" * 100)
                await asyncio.sleep(0.01)
        await stream.flush()
        assert set(await take(stream, 100)) == {ord("a")}


async def test_a_session_that_is_over_does_not_come_back(echo):
    async with StreamClient.connect(echo.url) as stream:
        echo.is_gone = True
        await echo.cut()
        with pytest.raises(NotFound):
            await stream.receive()


async def test_a_connection_that_stays_away(echo):
    async with StreamClient.connect(echo.url, reconnect_s=0.0) as stream:
        await echo.cut()
        with pytest.raises(Unavailable, match="did not come back"):
            await stream.receive()


async def test_no_answer(echo):
    async with StreamClient.connect(echo.url) as stream:
        echo.is_quiet = True
        with pytest.raises(Unavailable, match="flush"):
            await stream.flush(timeout_s=0.05)
        with pytest.raises(Unavailable, match="ping"):
            await stream.ping(timeout_s=0.05)


async def test_what_nobody_takes_is_bounded(echo):
    async with StreamClient.connect(echo.url, max_buffered_bytes=5000) as stream:
        echo.delay_bytes = 0
        await stream.send(bytes(20000))
        with pytest.raises(Unavailable, match="received bytes wait to be taken"):
            await stream.flush(timeout_s=0.3)
        assert stream._inbox.num_bytes <= 6000
        assert await take(stream, 20000) == bytes(20000)


async def test_marks_tell_when_what_went_and_came(echo):
    async with StreamClient.connect(echo.url, keep_marks=True) as stream:
        await stream.send(bytes(1000))
        await stream.send(bytes(500))
        await stream.flush()
        assert [(mark.start_byte, mark.num_bytes) for mark in stream.sent] == [(0, 1000), (1000, 500)]
        assert sum(mark.num_bytes for mark in stream.received) == 1500
        starts = [mark.start_byte for mark in stream.received]
        assert starts == sorted(starts)
        times = [mark.time_s for mark in stream.received]
        assert times == sorted(times)
        assert times[-1] > stream.sent[0].time_s


async def test_what_nobody_takes_need_not_be_kept(echo):
    async with StreamClient.connect(echo.url, keep_audio=False, max_buffered_bytes=6000) as stream:
        await stream.send(bytes(20000))
        await stream.flush()
        assert stream.num_received_bytes == 20000
    assert await stream.receive() == b""


async def test_use_after_the_end(echo):
    async with StreamClient.connect(echo.url) as stream:
        pass
    with pytest.raises(InvalidRequest, match="closed"):
        await stream.send(bytes(2))
    assert await stream.receive() == b""

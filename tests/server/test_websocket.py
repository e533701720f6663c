"""Live streams over real sockets: what a client sends and what it gets."""

import io
import json

import numpy as np
import pytest
import soundfile
from aiohttp import WSMsgType
from live_sockets import BLOCK_MS, RATE_HZ, pcm, receive_until, tone

from anivoice.audio.wire import WireDecoder, WireEncoder
from anivoice.engine.batch import WindowRequest
from anivoice.live.stream import LiveStream


async def test_plain_client(serve_fake):
    """Parameters, then bytes in and bytes out, and nothing else."""
    client = await serve_fake()
    async with client.post("/convert/stream", json={"model_name": "bob", "pitch_change": 3}) as answer:
        url = (await answer.json())["websocket_url"]
    sent = pcm(tone(1.0, 48000))
    async with client.ws_connect(url) as socket:
        await socket.send_json({"pitch_change": 5, "mode": "reliable"})
        for start in range(0, len(sent), 1921):
            await socket.send_bytes(sent[start : start + 1921])
        got = b""
        while len(got) < 0.7 * len(sent):
            message = await socket.receive(30)
            assert message.type is WSMsgType.BINARY
            got += message.data
    samples = np.frombuffer(got, "<i2")[20000:28000] / 32768
    assert np.abs(samples).max() == pytest.approx(0.25, rel=0.05)


async def test_flush_brings_as_many_samples_as_were_sent(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, events=True)
    sent = pcm(tone(1.003))
    await socket.send_bytes(sent)
    await socket.send_json({"flush": True})
    audio, _ = await receive_until(socket, "flushed")
    assert len(audio) == len(sent)


async def test_audio_may_come_first(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client)
    await socket.send_bytes(pcm(tone(0.5)))
    message = await socket.receive(30)
    assert message.type is WSMsgType.BINARY


async def test_any_split_gives_the_same_bytes(serve_fake, connect):
    """Odd numbers of bytes, too."""
    client = await serve_fake()
    sent, answers = pcm(tone(0.5)), []
    for size in (len(sent), 333, 2559):
        socket = await connect(client, events=True, seed=1)
        for start in range(0, len(sent), size):
            await socket.send_bytes(sent[start : start + size])
        await socket.send_json({"flush": True})
        answers.append((await receive_until(socket, "flushed"))[0])
    assert len(answers[0]) == len(sent)
    assert answers[0] == answers[1] == answers[2]


async def test_after_a_flush_a_new_stream_begins(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, events=True, seed=1)
    answers = []
    for _ in range(2):
        await socket.send_bytes(pcm(tone(0.3)))
        await socket.send_json({"flush": True})
        answers.append((await receive_until(socket, "flushed"))[0])
    assert len(answers[0]) == len(pcm(tone(0.3)))
    assert answers[0] == answers[1]


async def test_flush_without_audio(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client)
    await socket.send_json({"events": True, "flush": True})
    audio, texts = await receive_until(socket, "flushed")
    assert audio == b""
    assert [text["event"] for text in texts] == ["ready", "flushed"]


async def test_events_only_on_request(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client)
    await socket.send_json({"pitch_change": 1})
    await socket.send_bytes(pcm(tone(0.2)))
    await socket.send_json({"flush": True})
    await socket.send_json({"ping": "x"})
    _, texts = await receive_until(socket, "pong")
    assert texts == [{"event": "pong", "ping": "x"}]


async def test_ready_tells_what_is_promised(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, seed=7)
    await socket.send_json({"events": True, "output_sample_rate": 48000})
    _, [ready] = await receive_until(socket, "ready")
    assert (ready["voice"], ready["seed"], ready["block_ms"]) == ("alice", 7, BLOCK_MS)
    assert (ready["sample_rate"], ready["output_sample_rate"]) == (RATE_HZ, 48000)
    latency = dict(ready["latency_ms"])
    total = latency.pop("total")
    assert {"block", "lookahead", "crossfade", "search", "resampling", "computing"} == latency.keys()
    assert total == pytest.approx(sum(latency.values()), abs=0.01)


async def test_stats_come_by_themselves(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, events=True)
    await socket.send_bytes(pcm(tone(0.5)))
    _, texts = await receive_until(socket, "stats")
    stats = texts[-1]
    assert stats["blocks"] >= 1
    assert (stats["dropped_blocks"], stats["late"], stats["failed"]) == (0, 0, 0)
    assert {"p50", "p95", "p99"} == stats["compute_ms"].keys()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[1]", "array"),
        ("[" * 50000, "not JSON"),
        ("x" * 70000, "longer than"),
        ('{"loudness": 1}', "loudness: no such parameter"),
        ('{"pitch_change": 99}', "pitch_change"),
        ('{"model_name": "nobody"}', "there is no voice 'nobody'"),
        ('{"model_name": "broken"}', "broken"),
        ('{"speaker_id": 60000}', "speakers"),
        ('{"sample_rate": 8000}', "cannot change once audio has come"),
        ('{"mode": "live"}', "cannot change once audio has come"),
    ],
)
async def test_bad_text_is_told_and_the_stream_goes_on(serve_fake, connect, text, told):
    client = await serve_fake()
    socket = await connect(client, events=True)
    sent = pcm(tone(0.4))
    await socket.send_bytes(sent[:9000])
    await socket.send_str(text)
    before, texts = await receive_until(socket, "error")
    assert told in texts[-1]["error"]
    await socket.send_bytes(sent[9000:])
    await socket.send_json({"flush": True})
    after, _ = await receive_until(socket, "flushed")
    assert len(before) + len(after) == len(sent)


async def test_bad_text_first(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client)
    await socket.send_json({"model_name": "nobody"})
    await receive_until(socket, "error")
    await socket.send_bytes(pcm(tone(0.4)))
    assert (await socket.receive(30)).type is WSMsgType.BINARY


async def test_nothing_but_errors_ends_the_stream(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client)
    for _ in range(30):
        await socket.send_str("garbage")
    while (message := await socket.receive(30)).type is WSMsgType.TEXT:
        assert "error" in json.loads(message.data)
    assert socket.close_code == 1008


async def test_message_over_the_limit(serve_fake, connect):
    client = await serve_fake(max_message_kb=16)
    socket = await connect(client)
    await socket.send_bytes(bytes(17000))
    assert (await socket.receive(30)).type is WSMsgType.CLOSE
    assert socket.close_code == 1009


async def test_fault_of_the_server(serve_fake, connect, monkeypatch, caplog):
    def fail(*_, **__):
        raise ZeroDivisionError("a fault")

    client = await serve_fake()
    socket = await connect(client)
    monkeypatch.setattr(LiveStream, "finish", fail)
    await socket.send_bytes(pcm(tone(0.4)))
    _, texts = await receive_until(socket, "error")
    assert "internal error" in texts[-1]["error"]
    assert (await socket.receive(30)).type is WSMsgType.CLOSE
    assert socket.close_code == 1011
    assert "a fault" in caplog.text


async def test_wav_header_sets_rate_and_format(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, sample_rate=48000, events=True)
    file = io.BytesIO()
    soundfile.write(file, tone(0.5, 22050), 22050, "PCM_16", format="WAV")
    await socket.send_bytes(file.getvalue())
    await socket.send_json({"flush": True})
    audio, texts = await receive_until(socket, "flushed")
    assert audio[:4] == b"RIFF"
    assert len(audio) - audio.index(b"data") - 8 == 2 * round(0.5 * 22050)
    ready = [text for text in texts if text["event"] == "ready"][-1]
    assert (ready["sample_rate"], ready["format"], ready["output_format"]) == (22050, "wav", "wav")


async def test_opus_there_and_back(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, format="opus", sample_rate=48000, events=True)
    encoder = WireEncoder("opus", 48000)
    for packet in encoder.feed(tone(0.6, 48000)) + encoder.flush():
        await socket.send_bytes(packet)
    await socket.send_bytes(b"\xff\xfe\xfd garbage")
    await socket.send_json({"flush": True})
    decoder, num_samples = WireDecoder("opus", 48000), 0
    while (message := await socket.receive(30)).type is WSMsgType.BINARY or "flushed" not in message.data:
        if message.type is WSMsgType.BINARY:
            num_samples += len(decoder.feed(message.data))
    assert num_samples == pytest.approx(0.6 * 48000, abs=3000)


async def test_silence_mute_and_passthrough_need_no_engine(serve_fake, fake, connect):
    client = await serve_fake()
    for values, audio in (({}, np.zeros(8000)), ({"mute": True}, tone(0.5)), ({"passthrough": True}, tone(0.5))):
        socket = await connect(client, events=True, **values)
        await socket.send_json({})
        await receive_until(socket, "ready")
        num_before = len(fake.runner.served)
        await socket.send_bytes(pcm(audio))
        await socket.send_json({"flush": True})
        answer, _ = await receive_until(socket, "flushed")
        heard = np.frombuffer(answer, "<i2") / 32768
        assert len(fake.runner.served) == num_before
        assert np.abs(heard).max() == pytest.approx(0.5 if values.get("passthrough") else 0, abs=0.02)


async def test_parameters_change_on_the_way(serve_fake, fake, connect):
    client = await serve_fake()
    socket = await connect(client, events=True)
    await socket.send_bytes(pcm(tone(0.4)))
    await socket.send_json({"pitch_change": 7, "protect": 0.1})
    _, texts = await receive_until(socket, "changed")
    assert texts[-1]["parameters"]["pitch_change"] == 7
    await socket.send_bytes(pcm(tone(0.4)))
    await socket.send_json({"flush": True})
    await receive_until(socket, "flushed")
    pitches = [request.pitch_change for request in fake.runner.served if isinstance(request, WindowRequest)]
    assert pitches[1] == 0
    assert pitches[-1] == 7
    assert pitches[1:] == sorted(pitches[1:])


@pytest.mark.parametrize("name", ["alice", "whisper"])
async def test_real_networks(serve_real, connect, name):
    client = await serve_real()
    socket = await connect(client, model_name=name, events=True, seed=3, context_ms=200)
    await socket.send_bytes(pcm(tone(0.5)))
    await socket.send_json({"flush": True})
    audio, texts = await receive_until(socket, "flushed")
    assert len(audio) == len(pcm(tone(0.5)))
    assert np.abs(np.frombuffer(audio, "<i2")).max() > 0
    assert not any("error" in text for text in texts)

"""The client against the real server, whose engine copies."""

import asyncio

import numpy as np
import pytest

from anivoice.bench.overhead import copy_runtime
from anivoice.client.stream_client import StreamClient
from anivoice.config import load_settings
from anivoice.errors import InvalidParameter, InvalidRequest, NotFound
from anivoice.parameters import ConversionParameters
from anivoice.server.background import BackgroundServer

VALUES = {"preset": "ultra", "mode": "reliable", "seed": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    settings = load_settings({"weights_dir": folder, "device": "cpu", "session_grace_seconds": 5}, env_file=None)
    with BackgroundServer(settings, ConversionParameters(), copy_runtime(folder)) as running:
        yield running


@pytest.fixture
def noise():
    return (0.1 * np.random.default_rng(0).standard_normal(24000)).astype(np.float32)


async def converted(stream, samples, message_samples=960):
    before = stream.num_received_bytes
    for start in range(0, len(samples), message_samples):
        await stream.send(samples[start : start + message_samples])
    await stream.flush()
    num_bytes = stream.num_received_bytes - before
    parts = []
    while num_bytes > 0:
        parts.append(await stream.receive_samples())
        num_bytes -= 2 * len(parts[-1])
    return np.concatenate(parts)


async def test_as_many_samples_come_back_and_any_split_gives_the_same(server, noise):
    results = []
    for message_samples in (960, 777, 24000):
        async with StreamClient.connect(server.base_url, VALUES) as stream:
            assert stream.latency_ms["block"] == 40
            assert sum(ms for name, ms in stream.latency_ms.items() if name != "total") == pytest.approx(
                stream.latency_ms["total"], abs=0.01
            )
            results.append(await converted(stream, noise, message_samples))
    assert len(results[0]) == len(noise)
    assert np.abs(results[0]).max() > 0.05
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


async def test_a_second_flush_begins_anew(server, noise):
    async with StreamClient.connect(server.base_url, VALUES) as stream:
        first = await converted(stream, noise)
        np.testing.assert_array_equal(await converted(stream, noise), first)


async def test_without_events(server, noise):
    async with StreamClient.connect(server.base_url, VALUES | {"events": False}) as stream:
        assert len(await converted(stream, noise)) == len(noise)


async def test_other_rates_and_formats(server, noise):
    values = VALUES | {"sample_rate": 24000, "output_sample_rate": 44100, "format": "pcm_f32le", "channels": 2}
    async with StreamClient.connect(server.base_url, values | {"output_format": "pcm_s16le"}) as stream:
        result = await converted(stream, np.stack([noise, noise], axis=1))
    assert abs(len(result) - 44100) <= 1


async def test_ping_changes_and_refusals(server, noise):
    async with StreamClient.connect(server.base_url, VALUES) as stream:
        assert await stream.ping() < 10
        await stream.set_parameters(pitch_change=99)
        with pytest.raises(InvalidRequest, match="pitch_change"):
            await stream.receive()
        await stream.set_parameters(mute=True)
        assert not (await converted(stream, noise)).any()


async def test_what_the_server_refuses_at_once(server):
    with pytest.raises(InvalidParameter, match="gate_db"):
        async with StreamClient.connect(server.base_url, {"gate_db": 7}):
            pass
    with pytest.raises(NotFound, match="nobody"):
        async with StreamClient.connect(server.base_url, {"model_name": "nobody"}):
            pass


async def test_a_lost_connection_goes_on(server, noise):
    async with StreamClient.connect(server.base_url, VALUES) as stream:
        for start in range(0, 9600, 960):
            await stream.send(noise[start : start + 960])
        await stream.ping()
        stream._connection._socket._response.connection.transport.abort()
        async with asyncio.timeout(20):
            while (await stream.events.get())["event"] != "reconnected":
                pass
        rest = await converted(stream, noise[9600:])
        assert len(rest) > 12000
        assert stream.num_received_bytes <= 2 * len(noise)

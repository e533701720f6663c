"""When messages are sent, and how old what comes back is."""

import time

import numpy as np
import pytest

from anivoice.client.pacing import DelayMeter, at_their_time, percentiles
from anivoice.client.stream_client import Mark, StreamClient


class FakeStream:
    output_rate_hz = 1000

    def __init__(self):
        self.received = []
        self.num_received_bytes = 0

    def come(self, time_s, num_samples):
        self.received.append(Mark(time_s, self.num_received_bytes, 2 * num_samples))
        self.num_received_bytes += 2 * num_samples


async def test_messages_are_given_when_they_have_been_spoken():
    started_s = time.perf_counter()
    parts = []
    async for part in at_their_time(1050, 400, 16000, started_s):
        assert time.perf_counter() >= started_s + part.stop / 16000
        parts.append((part.start, part.stop))
    assert parts == [(0, 400), (400, 800), (800, 1050)]


def test_delay_is_the_age_of_a_messages_first_sample():
    meter, stream = DelayMeter(), FakeStream()
    assert len(meter.delays_ms(0.0, 99.0, 2, 80.0)) == 0
    meter.watch(stream)
    for time_s, num_samples in ((10.1, 20), (10.18, 80), (10.26, 80), (10.27, 300)):
        stream.come(time_s, num_samples)
    np.testing.assert_allclose(meter.delays_ms(10.0, 10.265, 2, 80.0), [100, 160, 160])


def test_dropped_blocks_move_what_comes_after_them():
    meter, stream = DelayMeter(), FakeStream()
    meter.watch(stream)
    stream.come(10.1, 80)
    meter.note({"event": "overrun", "dropped_blocks": 2})
    stream.come(10.34, 80)
    meter.note({"event": "overrun", "dropped_blocks": 3})
    stream.come(10.5, 80)
    meter.note({"event": "stats", "dropped_blocks": 3})
    np.testing.assert_allclose(meter.delays_ms(10.0, 99.0, 2, 80.0), [100, 100, 100])
    assert meter.num_dropped_blocks == 3
    assert meter.stats == {"event": "stats", "dropped_blocks": 3}


def test_percentiles():
    assert percentiles([]) == {}
    assert percentiles(np.arange(101.0)) == pytest.approx({"p50": 50, "p95": 95, "p99": 99, "max": 100})


async def test_delay_of_a_real_stream(echo):
    """The stand-in holds back 200 samples of 8 kHz; the first message is the youngest."""
    meter = DelayMeter()
    values = {"sample_rate": 8000}
    async with StreamClient.connect(echo.url, values, on_event=meter.note, keep_marks=True) as stream:
        meter.watch(stream)
        started_s = time.perf_counter()
        async for part in at_their_time(4000, 160, 8000, started_s):
            await stream.send(np.zeros(part.stop - part.start, np.float32))
        sent_s = time.perf_counter()
        await stream.flush()
        delays_ms = meter.delays_ms(started_s, sent_s, 2, 80.0)
    assert len(delays_ms) >= 20
    assert delays_ms.min() >= 40

"""The delay contract in the stream's own time: what is promised is what passes, and it stays so for long streams."""

import numpy as np
import pytest
from conformance import OWN_VECTORS, load_voice
from numpy.typing import NDArray

from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source
from anivoice.voices.voice import Voice

TEN_MINUTES_S = 600
MESSAGE_MS = 10


@pytest.fixture(scope="module")
def voice() -> Voice:
    return load_voice(OWN_VECTORS, {"model": "v1_f0_40k.pth", "hubert": "tiny12", "index": ""}, OWN_VECTORS)


def noise(seconds: float, rate_hz: int) -> NDArray[np.float32]:
    """Slow enough for every rate here."""
    rough = np.random.default_rng(1).standard_normal(round(seconds * 4000)).astype(np.float32)
    grid = np.arange(round(seconds * rate_hz)) * (4000 / rate_hz)
    return (0.1 * np.interp(grid, np.arange(len(rough)), rough)).astype(np.float32)


def lag_s(late: NDArray[np.float32], early: NDArray[np.float32], rate_hz: int) -> float:
    """By the peak of the cross-correlation."""
    size = len(late) + len(early)
    correlation = np.fft.irfft(np.fft.rfft(late, size) * np.conj(np.fft.rfft(early, size)), size)
    peak = int(np.argmax(correlation))
    return (peak if peak < size // 2 else peak - size) / rate_hz


@pytest.mark.parametrize(
    ("preset", "rate_hz", "output_rate_hz"),
    [("low", 44100, 48000), ("quality", 16000, 40000)],
)
def test_ten_minutes(voice: Voice, preset: str, rate_hz: int, output_rate_hz: int) -> None:
    given = {"preset": preset, "sample_rate": rate_hz, "output_sample_rate": output_rate_hz, "passthrough": True}
    stream = LiveStream(Source(voice, StreamParameters.model_validate(given), "pm"), seed=1)
    samples = noise(TEN_MINUTES_S, rate_hz)
    message = rate_hz * MESSAGE_MS // 1000
    parts: list[NDArray[np.float32]] = []
    delays_s, num_out = [], 0
    for start in range(0, len(samples), message):
        heard_s = (start + message) / rate_hz
        for step in stream.feed(samples[start : start + message]):
            parts.append(stream.finish(step, None))
            if len(parts[-1]):
                delays_s.append(heard_s - num_out / output_rate_hz)
            num_out += len(parts[-1])
    output = np.concatenate(parts)
    promised_s = stream.latency_ms(computing_ms=0)["total"] / 1000
    # The first block is shorter, so its first sample is younger; a message is the resolution of the clock here.
    np.testing.assert_allclose(delays_s[1:], promised_s, atol=0.005 + MESSAGE_MS / 1000)
    assert np.ptp(delays_s[len(delays_s) // 2 :]) <= MESSAGE_MS / 1000 + 1e-9
    for minute in (0.1, 5, 9.8):
        at, num = round(minute * 60 * rate_hz), rate_hz
        heard = samples[at : at + num]
        same = np.interp(
            np.arange(num) / rate_hz,
            np.arange(output_rate_hz) / output_rate_hz,
            output[round(minute * 60 * output_rate_hz) :][:output_rate_hz],
        )
        assert abs(lag_s(same.astype(np.float32), heard, rate_hz)) < 0.0005

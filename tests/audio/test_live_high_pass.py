"""Live streams listen without rumble, hum and offset."""

import numpy as np
import pytest
from conformance import OWN_VECTORS, load_voice
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anivoice.audio.live_high_pass import LiveHighPass
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source

RATE_HZ = 16000


def tone(frequency_hz: float, seconds: float = 2.0) -> NDArray[np.float32]:
    return np.cos(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.float32)


def gain_db(samples: NDArray[np.float32]) -> float:
    """Of a tone, when the filter has settled."""
    settled = LiveHighPass(RATE_HZ).feed(samples)[RATE_HZ:]
    return float(10 * np.log10(np.square(settled).mean() / np.square(samples[RATE_HZ:]).mean() + 1e-12))


@pytest.mark.parametrize(
    ("frequency_hz", "lowest_db", "highest_db"),
    [
        (0.0, -121, -60),
        (10, -60, -35),
        (25, -25, -12),
        (48, -4, -2),
        (75, -1, 0),
        (150, -0.1, 0.1),
        (4000, -0.01, 0.01),
    ],
)
def test_what_lies_below_voices_goes(frequency_hz: float, lowest_db: float, highest_db: float) -> None:
    assert lowest_db <= gain_db(tone(frequency_hz)) <= highest_db


@given(cuts=st.lists(st.integers(0, 4000), max_size=6))
def test_the_split_does_not_matter(cuts: list[int]) -> None:
    samples = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    whole, high_pass = LiveHighPass(RATE_HZ).feed(samples), LiveHighPass(RATE_HZ)
    parts = [high_pass.feed(part) for part in np.split(samples, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_network_does_not_hear_an_offset_and_what_passes_keeps_it() -> None:
    voice = load_voice(OWN_VECTORS, {"model": "v1_f0_40k.pth", "hubert": "tiny12", "index": ""}, OWN_VECTORS)
    samples = 0.3 + 0.1 * tone(300)

    def windows(passthrough: bool) -> tuple[LiveStream, list[NDArray[np.float32]]]:
        values = {"sample_rate": RATE_HZ, "preset": "low", "passthrough": passthrough}
        stream = LiveStream(Source(voice, StreamParameters.model_validate(values), "pm"), seed=1)
        heard, given = [], []
        for step in stream.feed(samples):
            request = stream.request(step)
            if request is not None:
                heard.append(request.samples[-1600:])
            given.append(stream.finish(step, None))
        return stream, given if passthrough else heard

    _, heard = windows(passthrough=False)
    assert abs(heard[-1].mean()) < 0.01
    assert heard[-1].std() == pytest.approx(0.1 / np.sqrt(2), rel=0.05)
    _, given = windows(passthrough=True)
    assert given[-1].mean() == pytest.approx(0.3, abs=0.02)

"""Resampling in pieces: the same bits for any split, the right length and place, alias-free, with little delay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anivoice.audio.polyphase import PolyphaseResampler
from anivoice.audio.resampler import StreamResampler

Samples = NDArray[np.float32]
PAIRS = [
    (48000, 16000),
    (44100, 16000),
    (40000, 48000),
    (16000, 48000),
    (8000, 16000),
    (11025, 16000),
    (192000, 16000),
    (48000, 44100),
    (16000, 16000),
    (44101, 16000),
]
"""The last ratio has numbers too large for a table of its own."""

MAX_LIVE_DELAY_MS = 8


def sine(rate_hz: int, frequency_hz: float, seconds: float = 0.5) -> Samples:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


def resample(signal: Samples, rate_in_hz: int, rate_out_hz: int, low_delay: bool = True) -> Samples:
    return StreamResampler(rate_in_hz, rate_out_hz, low_delay).feed(signal, last=True)


def level_db(signal: Samples) -> float:
    """Of the middle, against a full sine."""
    middle = signal[len(signal) // 4 : -len(signal) // 4].astype(np.float64)
    return float(10 * np.log10(2 * np.average(np.square(middle), weights=np.hanning(len(middle))) + 1e-20))


@pytest.mark.parametrize("low_delay", [False, True])
@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS)
@settings(max_examples=15)
@given(lengths=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 1500)), max_size=12))
def test_any_split_gives_the_same_bits(rate_in_hz: int, rate_out_hz: int, low_delay: bool, lengths: list[int]) -> None:
    signal = np.random.default_rng(0).normal(0, 0.3, 5000).astype(np.float32)
    whole = resample(signal, rate_in_hz, rate_out_hz, low_delay)
    resampler = StreamResampler(rate_in_hz, rate_out_hz, low_delay)
    parts = [resampler.feed(part) for part in np.split(signal, np.cumsum(lengths))]
    np.testing.assert_array_equal(np.concatenate([*parts, resampler.flush()]), whole)


@pytest.mark.parametrize("low_delay", [False, True])
@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS)
@pytest.mark.parametrize("num_samples", [1, 2, 159, 1000, 44103])
def test_length_is_that_of_the_input(rate_in_hz: int, rate_out_hz: int, low_delay: bool, num_samples: int) -> None:
    out = resample(np.ones(num_samples, np.float32), rate_in_hz, rate_out_hz, low_delay)
    assert abs(len(out) - num_samples * rate_out_hz / rate_in_hz) <= 0.5 + 1e-9
    assert out.dtype == np.float32


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS)
def test_sines_stay_in_place(rate_in_hz: int, rate_out_hz: int) -> None:
    out = resample(sine(rate_in_hz, 440), rate_in_hz, rate_out_hz)
    wanted = sine(rate_out_hz, 440)
    edge = rate_out_hz // 20
    np.testing.assert_allclose(out[edge:-edge], wanted[edge : len(out) - edge], atol=1e-4)


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS)
def test_pass_band_is_flat(rate_in_hz: int, rate_out_hz: int) -> None:
    for share in (0.01, 0.3, 0.6, 0.89):
        out = resample(sine(rate_in_hz, share * min(rate_in_hz, rate_out_hz) / 2), rate_in_hz, rate_out_hz)
        assert abs(level_db(out)) < 0.02


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_the_lower_rate_cannot_hold_is_gone(rate_in_hz: int, rate_out_hz: int) -> None:
    for share in (1.06, 1.15, 1.31, 2.03):
        frequency_hz = share * rate_out_hz / 2
        if frequency_hz < 0.49 * rate_in_hz:
            assert level_db(resample(sine(rate_in_hz, frequency_hz), rate_in_hz, rate_out_hz)) < -80


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), [(16000, 48000), (40000, 48000), (8000, 16000), (32000, 44100)])
def test_no_images_of_the_lower_rate(rate_in_hz: int, rate_out_hz: int) -> None:
    for share in (0.3, 0.7, 0.89):
        out = resample(sine(rate_in_hz, share * rate_in_hz / 2), rate_in_hz, rate_out_hz).astype(np.float64)
        middle = out[len(out) // 4 : -len(out) // 4]
        spectrum = np.abs(np.fft.rfft(middle * np.kaiser(len(middle), 20)))
        first_image = round(len(middle) * 1.06 * rate_in_hz / 2 / rate_out_hz)
        assert 20 * np.log10(spectrum[first_image:].max() / spectrum.max()) < -80


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS[:-1])
def test_live_delay_is_small_and_what_is_promised(rate_in_hz: int, rate_out_hz: int) -> None:
    resampler = StreamResampler(rate_in_hz, rate_out_hz, low_delay=True)
    assert resampler.delay_ms <= MAX_LIVE_DELAY_MS
    num_out, lags_ms = 0, []
    for num_in in range(1, rate_in_hz // 20):
        num_out += len(resampler.feed(np.zeros(1, np.float32)))
        lags_ms.append(1000 * (num_in / rate_in_hz - num_out / rate_out_hz))
    assert max(lags_ms) == pytest.approx(resampler.delay_ms, abs=1e-6)


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS)
def test_no_output_is_later_than_promised(rate_in_hz: int, rate_out_hz: int) -> None:
    resampler = StreamResampler(rate_in_hz, rate_out_hz)
    num_in = num_out = 0
    for length in np.random.default_rng(3).integers(1, 700, 60):
        num_in += int(length)
        num_out += len(resampler.feed(np.zeros(length, np.float32)))
        assert num_in / rate_in_hz - num_out / rate_out_hz <= resampler.delay_ms / 1000 + 1e-9


def test_ratios_of_large_numbers_need_no_large_table() -> None:
    assert PolyphaseResampler.fits(44100, 16000)
    assert not PolyphaseResampler.fits(44101, 16000)
    assert StreamResampler(44101, 16000, low_delay=True).delay_ms > MAX_LIVE_DELAY_MS


def test_equal_rates_have_no_delay() -> None:
    assert StreamResampler(16000, 16000, low_delay=True).delay_ms == 0


@pytest.mark.parametrize("low_delay", [False, True])
def test_after_a_flush_or_reset_a_new_signal_begins(low_delay: bool) -> None:
    signal = sine(44100, 300, 0.2)
    resampler = StreamResampler(44100, 16000, low_delay)
    first = np.concatenate([resampler.feed(signal), resampler.flush()])
    np.testing.assert_array_equal(resampler.feed(signal, last=True), first)
    resampler.feed(signal)
    resampler.reset()
    np.testing.assert_array_equal(resampler.feed(signal, last=True), first)

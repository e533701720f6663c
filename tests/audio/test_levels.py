"""Gate, live volume envelope and limiter: what they do, and that their gains never jump."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anivoice.audio.levels import (
    GATE_HYSTERESIS_DB,
    MAX_ENVELOPE_GAIN,
    Gate,
    Limiter,
    LiveEnvelope,
)

RATE_HZ = 16000
MAX_GAIN_STEP = 1 / 64

Samples = NDArray[np.float32]
LENGTHS = st.lists(st.integers(0, 700), min_size=1, max_size=6)


def sine(num_samples: int, amplitude: float, frequency_hz: float = 220.0) -> Samples:
    return (amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / RATE_HZ)).astype(np.float32)


def noise(num_samples: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.2, num_samples).astype(np.float32)


def cut(signal: Samples, lengths: list[int]) -> list[Samples]:
    return np.split(signal, np.cumsum(lengths))


def at_level(num_samples: int, level_db: float) -> Samples:
    return sine(num_samples, np.sqrt(2) * 10 ** (level_db / 20), 1000)


def gate_at(gate_db: float, **options: float) -> Gate:
    return Gate(RATE_HZ // 100, gate_db, **options)


def test_gate_opens_for_speech_and_closes_after_the_hold_time() -> None:
    gate = gate_at(-40, hold_ms=100)
    assert gate.feed(at_level(4000, -50)) == [False] * 25
    assert gate.feed(at_level(4000, -30)) == [True] * 25
    assert gate.feed(np.zeros(8000, np.float32)) == [True] * 9 + [False] * 41
    assert gate.feed(np.zeros(0, np.float32)) == []


def test_gate_has_hysteresis() -> None:
    between = at_level(16000, -40 - GATE_HYSTERESIS_DB / 2)
    gate = gate_at(-40)
    assert not any(gate.feed(between))
    gate.feed(at_level(1600, -30))
    assert all(gate.feed(between))
    gate.feed(np.zeros(16000, np.float32))
    assert not any(gate.feed(between))


def test_gate_follows_a_change_of_its_level() -> None:
    gate = gate_at(-40)
    assert not any(gate.feed(at_level(1600, -50)))
    gate.gate_db = -60
    assert all(gate.feed(at_level(1600, -50)))


def test_gate_reset_closes_it() -> None:
    gate = gate_at(-40)
    gate.feed(at_level(1600, -10))
    gate.reset()
    assert not any(gate.feed(np.zeros(160, np.float32)))


@pytest.mark.parametrize("volume_envelope", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("heard", "made"), [(0.5, 0.1), (0.05, 0.4), (0.3, 0.3)])
def test_envelope_of_steady_sounds_is_the_ratio_of_their_rms(heard: float, made: float, volume_envelope: float) -> None:
    n = RATE_HZ
    out = LiveEnvelope(RATE_HZ).feed(sine(n, made), sine(n, heard, 300), volume_envelope)
    expected = sine(n, made) * (heard / made) ** (1 - volume_envelope)
    np.testing.assert_allclose(out[n // 2 :], expected[n // 2 :], atol=0.03 * np.abs(expected).max())


@given(LENGTHS, st.floats(0, 1))
def test_envelope_is_continuous_over_block_borders(lengths: list[int], volume_envelope: float) -> None:
    made, heard = noise(2000), np.concatenate([noise(900, 1), np.zeros(1100, np.float32)])
    whole = LiveEnvelope(RATE_HZ).feed(made, heard, volume_envelope)
    envelope = LiveEnvelope(RATE_HZ)
    pairs = zip(cut(made, lengths), cut(heard, lengths), strict=True)
    parts = np.concatenate([envelope.feed(m, h, volume_envelope) for m, h in pairs])
    np.testing.assert_array_equal(parts, whole)


def test_envelope_gain_never_jumps_whatever_happens() -> None:
    quiet, loud = np.full(4000, 1e-5, np.float32), np.full(4000, 0.9, np.float32)
    envelope = LiveEnvelope(RATE_HZ)
    gains = [
        envelope.feed(made, heard, volume) / made
        for made, heard, volume in [
            (quiet, loud, 0),
            (loud, quiet, 0),
            (loud, loud, 0.5),
            (quiet, loud, 0),
            (quiet, loud, 1),
        ]
    ]
    gain = np.concatenate(gains).astype(np.float64)
    assert gain.max() <= MAX_ENVELOPE_GAIN * 1.001
    assert np.abs(np.diff(np.log(gain), prepend=0)).max() <= MAX_GAIN_STEP


def test_envelope_of_silence_on_both_sides_does_not_swallow_the_onset() -> None:
    silence, speech = np.zeros(4000, np.float32), sine(4000, 0.3)
    envelope = LiveEnvelope(RATE_HZ)
    envelope.feed(silence, silence, 0)
    np.testing.assert_allclose(envelope.feed(speech, speech, 0), speech, atol=1e-6)


def test_envelope_silences_what_was_made_of_silence() -> None:
    out = LiveEnvelope(RATE_HZ).feed(sine(RATE_HZ, 0.3), np.zeros(RATE_HZ, np.float32), 0)
    assert np.abs(out[RATE_HZ // 2 :]).max() < 0.003


def test_envelope_one_comes_back_to_the_identity() -> None:
    envelope = LiveEnvelope(RATE_HZ)
    envelope.feed(noise(3000), 0.1 * noise(3000), 0)
    envelope.feed(noise(3000), 0.1 * noise(3000), 1)
    np.testing.assert_array_equal(envelope.feed(noise(500), noise(500, 1), 1), noise(500))


@given(LENGTHS, st.floats(0.1, 8), st.integers(0, 100))
def test_limiter_never_exceeds_the_ceiling(lengths: list[int], amplitude: float, seed: int) -> None:
    limiter = Limiter(RATE_HZ)
    signal = amplitude * noise(2000, seed)
    out = [limiter.feed(part) for part in cut(signal, lengths)]
    assert np.abs(np.concatenate(out)).max() <= np.float32(0.99)
    assert [len(part) for part in out] == [len(part) for part in cut(signal, lengths)]


@given(LENGTHS)
def test_limiter_leaves_what_is_below_the_ceiling_bit_by_bit(lengths: list[int]) -> None:
    signal = sine(3000, 0.9899)
    limiter = Limiter(RATE_HZ)
    np.testing.assert_array_equal(np.concatenate([limiter.feed(part) for part in cut(signal, lengths)]), signal)


@pytest.mark.parametrize("block_samples", [320, 640, 5000])
@pytest.mark.parametrize("amplitude", [1.2, 2.0, 5.0])
def test_limiter_makes_no_click(amplitude: float, block_samples: int) -> None:
    """A click is a kink: the second difference stays far below that of clipping, and the gain never jumps."""
    swell = np.interp(np.arange(16000), [0, 4000, 4800, 8000, 9000], [0.5, 0.5, amplitude, amplitude, 0.5])
    loud = (swell * sine(16000, 1)).astype(np.float32)
    limiter = Limiter(RATE_HZ)
    out = np.concatenate([limiter.feed(loud[at : at + block_samples]) for at in range(0, len(loud), block_samples)])
    heard = np.abs(loud) > 0.05
    gain = np.where(heard, out, 1) / np.where(heard, loud, 1)
    assert np.abs(np.diff(gain))[heard[1:] & heard[:-1]].max() <= 2 * MAX_GAIN_STEP
    kinks = [np.abs(np.diff(signal, 2)).max() for signal in (out, np.clip(loud, -0.99, 0.99))]
    assert kinks[0] < 0.5 * kinks[1]


def test_limiter_does_not_flatten_a_loud_sine_once_it_is_there() -> None:
    out = Limiter(RATE_HZ).feed(sine(8000, 3.0))
    steady = out[4000:]
    wanted = sine(8000, 0.99)[4000:]
    assert np.abs(steady - wanted).max() < 0.03


def test_limiter_lets_go_exactly() -> None:
    limiter = Limiter(RATE_HZ)
    limiter.feed(sine(800, 4.0))
    limiter.feed(sine(RATE_HZ, 0.2))
    np.testing.assert_array_equal(limiter.feed(sine(800, 0.9)), sine(800, 0.9))


def test_limiter_reset_forgets_the_peak() -> None:
    limiter = Limiter(RATE_HZ)
    limiter.feed(sine(800, 4.0))
    limiter.reset()
    np.testing.assert_array_equal(limiter.feed(sine(800, 0.9)), sine(800, 0.9))

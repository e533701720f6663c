"""Changed speakers and rooms: the same for the same seed, of sane level and length, and really changed."""

from collections.abc import Callable

import numpy as np
import pytest
from training_corpora import say

from anivoice.training import wave_augment
from anivoice.training.wave_augment import RATE_HZ, Samples, Speaker

EFFECTS = [wave_augment.equalise, wave_augment.reverberate, wave_augment.degrade]
SPEAKERS = [wave_augment.tape_speed, wave_augment.praat_speaker, wave_augment.vocoder_speaker]


@pytest.fixture(scope="module")
def speech() -> Samples:
    return say(120.0, 1.0, 0)


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_keeps_the_length_and_changes_the_sound(
    effect: Callable[[Samples, np.random.Generator], Samples], speech: Samples
) -> None:
    for seed in range(4):
        changed = effect(speech, np.random.default_rng(seed))
        assert changed.shape == speech.shape
        assert np.isfinite(changed).all()
        assert np.abs(changed - speech).max() > 1e-4
        np.testing.assert_array_equal(changed, effect(speech, np.random.default_rng(seed)))


@pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")
@pytest.mark.parametrize("speakers", SPEAKERS)
def test_a_changed_speaker_says_it_at_the_speed_that_is_told(
    speakers: Callable[[Samples, np.random.Generator], Speaker], speech: Samples
) -> None:
    changed = speakers(speech, np.random.default_rng(5))
    assert len(changed.samples) == pytest.approx(len(speech) / changed.speed, rel=0.02)
    assert np.isfinite(changed.samples).all()
    spectrum, other = (np.abs(np.fft.rfft(np.resize(x, RATE_HZ))) for x in (speech, changed.samples))
    assert np.corrcoef(spectrum, other)[0, 1] < 0.95


def test_what_praat_refuses_is_played_at_another_speed() -> None:
    changed = wave_augment.praat_speaker(np.zeros(400), np.random.default_rng(0))
    assert len(changed.samples) == pytest.approx(400 / changed.speed, abs=2)


def test_a_lively_voice_never_falls_to_a_pitch_of_nothing() -> None:
    """Praat would not come back: 60 Hz at a median of 200, spread by 1.8, is below zero."""
    f0_hz = np.array([0.0, 60.0, 200.0, 200.0, 220.0])
    spread = wave_augment._bounded_spread(1.8, f0_hz)
    assert spread * (1 - 60 / 200) == pytest.approx(wave_augment.MAX_FALL)
    assert wave_augment._bounded_spread(0.5, f0_hz) == 0.5
    assert wave_augment._bounded_spread(1.8, np.zeros(3)) == 1.8


def test_noise_has_the_level_that_was_drawn(speech: Samples) -> None:
    for seed in range(6):
        noise = wave_augment.add_noise(speech, np.random.default_rng(seed), babble=speech[::-1].copy()) - speech
        ratio_db = 10 * np.log10(np.mean(speech**2) / np.mean(noise**2))
        low, high = wave_augment.SNR_DB
        assert low - 0.1 <= ratio_db <= high + 0.1


def test_the_level_is_set_below_full_scale(speech: Samples) -> None:
    quiet = wave_augment.set_level(speech, -30.0)
    assert 20 * np.log10(np.sqrt(np.mean(quiet**2))) == pytest.approx(-30.0, abs=0.01)
    assert np.abs(wave_augment.set_level(speech, 0.0)).max() <= 0.99
    assert not wave_augment.set_level(np.zeros(100), -20.0).any()
    recorded = wave_augment.record(speech, np.random.default_rng(1), None)
    assert np.abs(recorded).max() <= 0.99

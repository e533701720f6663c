"""Other speakers, rooms and microphones made of one recording: what an encoder of content must not care about.

All on float64 mono at 16 kHz, driven by a `numpy.random.Generator`, so that a seed gives the same sound again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Samples = NDArray[np.float64]

RATE_HZ = 16000
PITCH_FLOOR_HZ, PITCH_CEILING_HZ = 60.0, 600.0
TAPE_SPEEDS = (0.75, 1.35)
"""Playing faster raises pitch and formants together."""
FORMANT_RATIOS = (0.82, 1.22)
PITCHES_HZ = (75.0, 320.0)
PITCH_SPREADS = (0.4, 1.8)
MAX_FALL = 0.7
SNR_DB = (3.0, 35.0)
REVERB_SECONDS = (0.08, 0.7)
LEVELS_DB = (-38.0, -14.0)


@dataclass(frozen=True)
class Speaker:
    """`samples` said by somebody else, `speed` times as fast."""

    samples: Samples
    speed: float


def tape_speed(samples: Samples, generator: Generator) -> Speaker:
    """Resampled by a random factor."""
    import soxr

    speed = float(np.exp(generator.uniform(*np.log(TAPE_SPEEDS))))
    return Speaker(soxr.resample(samples, RATE_HZ * speed, RATE_HZ), speed)


def praat_speaker(samples: Samples, generator: Generator) -> Speaker:
    """Formants, mean pitch, intonation and duration changed each by itself (Praat's "Change gender", by PSOLA).

    Praat refuses what it finds too little voice in: that is played at another speed.
    """
    import parselmouth
    from parselmouth.praat import call

    formants, spread = generator.uniform(*FORMANT_RATIOS), generator.uniform(*PITCH_SPREADS)
    pitch_hz = float(np.exp(generator.uniform(*np.log(PITCHES_HZ))))
    speed = generator.uniform(0.85, 1.2)
    sound = parselmouth.Sound(samples, RATE_HZ)
    try:
        pitch = sound.to_pitch(0.8 / PITCH_FLOOR_HZ, PITCH_FLOOR_HZ, PITCH_CEILING_HZ)
        spread = _bounded_spread(spread, pitch.selected_array["frequency"])
        changed = call([sound, pitch], "Change gender", formants, pitch_hz, spread, float(1 / speed))
    except parselmouth.PraatError:
        return tape_speed(samples, generator)
    return Speaker(np.asarray(changed.values[0], dtype=np.float64), speed)


def _bounded_spread(spread: float, f0_hz: Samples) -> float:
    """Less where the lowest pitch would fall by more than MAX_FALL of the median: at 0 Hz Praat never comes back."""
    voiced = f0_hz[f0_hz > 0]
    fall = 1 - voiced.min() / np.median(voiced) if len(voiced) else 0.0
    return min(spread, MAX_FALL / max(fall, 1e-6))


def vocoder_speaker(samples: Samples, generator: Generator) -> Speaker:
    """Pitch, formants (two bands warped differently) and breathiness changed by the WORLD vocoder."""
    import pyworld

    coarse_f0, times = pyworld.dio(samples, RATE_HZ, PITCH_FLOOR_HZ, PITCH_CEILING_HZ)
    f0 = pyworld.stonemask(samples, coarse_f0, times, RATE_HZ)
    envelope = pyworld.cheaptrick(samples, f0, times, RATE_HZ)
    noisiness = pyworld.d4c(samples, f0, times, RATE_HZ)
    voiced = f0 > 0
    if voiced.any():
        centre, level = np.exp(np.log(f0[voiced]).mean()), np.exp(generator.uniform(*np.log(PITCHES_HZ)))
        f0 = np.where(voiced, level * (np.maximum(f0, 1.0) / centre) ** generator.uniform(*PITCH_SPREADS), 0.0)
    breath = generator.uniform(0.4, 1.6)
    warped = _warp_bins(envelope, generator)
    made = pyworld.synthesize(f0, warped, np.clip(noisiness**breath, 0.0, 1.0), RATE_HZ)
    return Speaker(made, 1.0)


def _warp_bins(envelope: Samples, generator: Generator) -> Samples:
    """The envelope's frequencies stretched by one factor below a knee and by another above it."""
    num_bins = envelope.shape[1]
    low, high = generator.uniform(*FORMANT_RATIOS), generator.uniform(0.9, 1.1)
    knee = int(num_bins * generator.uniform(0.2, 0.6))
    target = np.array([0.0, knee * low, num_bins * min(low * high, 1.3)])
    source_bins = np.interp(np.arange(num_bins), target, [0.0, knee, num_bins])
    floor = np.clip(source_bins, 0, num_bins - 1).astype(np.int64)
    warped: Samples = np.ascontiguousarray(envelope[:, floor])
    return warped


def equalise(samples: Samples, generator: Generator) -> Samples:
    """A smooth random frequency response within +-10 dB, a random tilt, and often a narrower band."""
    spectrum = np.fft.rfft(samples)
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    octaves = np.log2(np.maximum(frequency_hz, 60.0) / 60.0)
    points = np.linspace(0.0, octaves[-1], 8)
    gains_db = np.interp(octaves, points, generator.normal(0.0, 3.0, 8)) + generator.uniform(-2.0, 2.0) * (octaves - 4)
    if generator.random() < 0.4:
        gains_db -= 24.0 * np.maximum(np.log2(np.maximum(frequency_hz, 1.0) / generator.uniform(3000.0, 7500.0)), 0.0)
    if generator.random() < 0.4:
        gains_db -= 18.0 * np.maximum(np.log2(generator.uniform(80.0, 350.0) / np.maximum(frequency_hz, 20.0)), 0.0)
    equalised: Samples = np.fft.irfft(spectrum * 10 ** (np.clip(gains_db, -60.0, 20.0) / 20), len(samples))
    return equalised


def reverberate(samples: Samples, generator: Generator) -> Samples:
    """A room: the direct sound, a few early echoes, and noise that fades exponentially and loses its highs."""
    from scipy.signal import fftconvolve

    seconds = np.exp(generator.uniform(*np.log(REVERB_SECONDS)))
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tail = generator.normal(size=len(time_s)) * 10 ** (-3 * time_s / seconds)
    tail = np.convolve(tail, [0.5, 0.3, 0.2])[: len(time_s)]
    tail[: int(0.003 * RATE_HZ)] = 0.0
    early = generator.integers(int(0.002 * RATE_HZ), int(0.03 * RATE_HZ), size=5)
    tail[early] += generator.normal(0.0, 2.0, 5)
    ratio_db = generator.uniform(-2.0, 18.0)
    response = tail * (10 ** (-ratio_db / 20) / np.sqrt(np.sum(tail**2)))
    response[0] = 1.0
    wet: Samples = fftconvolve(samples, response)[: len(samples)]
    return wet


def add_noise(samples: Samples, generator: Generator, babble: Samples | None) -> Samples:
    """Coloured noise, hum or other voices at a random distance in dB below the speech."""
    kind = generator.random()
    if babble is not None and kind < 0.2:
        noise = np.resize(babble, len(samples))
    elif kind < 0.3:
        hum_hz = generator.choice([50.0, 60.0]) * np.arange(1, 7)
        phases = 2 * np.pi * (hum_hz[:, None] * np.arange(len(samples)) / RATE_HZ + generator.random((6, 1)))
        noise = (np.sin(phases) * generator.random((6, 1))).sum(0)
    else:
        white = np.fft.rfft(generator.normal(size=len(samples)))
        tilt = np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE_HZ), 40.0) ** -generator.uniform(0.0, 1.2)
        noise = np.fft.irfft(white * tilt, len(samples))
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-generator.uniform(*SNR_DB) / 20)
    mixed: Samples = samples + noise * level / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
    return mixed


def degrade(samples: Samples, generator: Generator) -> Samples:
    """What cheap links do: clipping, eight mu-law bits, or a dead band of fine spectral detail as of a poor codec."""
    kind = generator.random()
    peak = float(np.abs(samples).max()) or 1.0
    if kind < 0.35:
        limit = peak * generator.uniform(0.15, 0.6)
        return np.clip(samples, -limit, limit)
    if kind < 0.65:
        mu = 255.0
        squeezed = np.sign(samples) * np.log1p(mu * np.abs(samples) / peak) / np.log1p(mu)
        rounded = np.round(squeezed * 127) / 127
        expanded: Samples = np.sign(rounded) * np.expm1(np.abs(rounded) * np.log1p(mu)) / mu * peak
        return expanded
    return _thin_spectrum(samples, generator)


def _thin_spectrum(samples: Samples, generator: Generator) -> Samples:
    """Drops the parts of each short spectrum that lie far below their frame's peak."""
    from scipy.signal import istft, stft

    _, _, spectrum = stft(samples, RATE_HZ, nperseg=512)
    magnitude = np.abs(spectrum)
    threshold = magnitude.max(axis=0, keepdims=True) * 10 ** (-generator.uniform(28.0, 45.0) / 20)
    _, thinned = istft(np.where(magnitude < threshold, 0.0, spectrum), RATE_HZ, nperseg=512)
    out: Samples = np.resize(thinned, len(samples))
    return out


def record(samples: Samples, generator: Generator, babble: Samples | None) -> Samples:
    """A random microphone in a random room: each of the effects with its own probability, and a random level."""
    if generator.random() < 0.7:
        samples = equalise(samples, generator)
    if generator.random() < 0.45:
        samples = reverberate(samples, generator)
    if generator.random() < 0.55:
        samples = add_noise(samples, generator, babble)
    if generator.random() < 0.2:
        samples = degrade(samples, generator)
    return set_level(samples, generator.uniform(*LEVELS_DB))


def set_level(samples: Samples, level_db: float) -> Samples:
    """Scaled to `level_db` (RMS, full scale 1), at most to full scale."""
    rms, peak = float(np.sqrt(np.mean(samples**2))), float(np.abs(samples).max())
    scaled: Samples = samples * min(10 ** (level_db / 20) / max(rms, 1e-9), 0.99 / max(peak, 1e-9))
    return scaled

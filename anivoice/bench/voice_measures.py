"""The judge's arithmetic: words lost, pitch kept, distance of spectra."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from anivoice.models.mel import mel_filterbank

NUM_MELS = 80
MEL_WINDOW_MS, MEL_HOP_MS = 32, 10
SPEECH_BELOW_PEAK_DB = 40.0
MIN_POWER = 1e-10
MIN_SPREAD_OCTAVES = 1e-6


def spoken_words(text: str) -> list[str]:
    """The words of a transcript as the recogniser would write them: lower case, letters and apostrophes."""
    return re.findall(r"[a-z']+", text.lower())


def word_errors(heard: Sequence[str], spoken: Sequence[str]) -> int:
    """Substitutions, insertions and deletions: Levenshtein's distance in words."""
    row = list(range(len(spoken) + 1))
    for i, word in enumerate(heard, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(spoken, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


@dataclass(frozen=True)
class PitchKept:
    """How one contour follows another. `correlation` is NaN where nothing varies, `cents` empty where nothing is
    voiced in both."""

    cents: NDArray[np.float64]
    """Magnitude of the error of every frame that is voiced in both."""
    correlation: float
    voiced_agreement: float
    """Share of the frames that are voiced in both or in neither."""


def compare_pitch(made_hz: NDArray[np.float64], wanted_hz: NDArray[np.float64]) -> PitchKept:
    """Two contours with a value per 10 ms, 0 = unvoiced; the longer one is cut."""
    num = min(len(made_hz), len(wanted_hz))
    made, wanted = made_hz[:num], wanted_hz[:num]
    both = (made > 0) & (wanted > 0)
    a, b = np.log2(made[both]), np.log2(wanted[both])
    varies = len(a) > 1 and min(a.std(), b.std()) > MIN_SPREAD_OCTAVES
    return PitchKept(
        1200 * np.abs(a - b),
        float(np.corrcoef(a, b)[0, 1]) if varies else float("nan"),
        float(np.mean((made > 0) == (wanted > 0))) if num else float("nan"),
    )


def mel_distance_db(made: NDArray[np.float32], real: NDArray[np.float32], rate_hz: int) -> float:
    """Mean magnitude of the difference of two log-mel spectra (80 bands) in dB, over the frames in which `real` is less
    than 40 dB below its loudest; the made one is brought to the same mean level first."""
    num = min(len(made), len(real))
    a, b = (_mel_db(x[:num], rate_hz) for x in (made, real))
    level = 10 * np.log10(np.sum(10 ** (b / 10), axis=0))
    speech = level > level.max() - SPEECH_BELOW_PEAK_DB
    a, b = a[:, speech], b[:, speech]
    return float(np.mean(np.abs(a - a.mean() - (b - b.mean()))))


def _mel_db(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """`[M, T]` in dB of power."""
    window, hop = rate_hz * MEL_WINDOW_MS // 1000, rate_hz * MEL_HOP_MS // 1000
    filters = mel_filterbank(NUM_MELS, window, 0.0, rate_hz / 2, False, rate_hz).double()
    spectrum = torch.stft(
        torch.from_numpy(samples.astype(np.float64)),
        window,
        hop,
        window=torch.hann_window(window, dtype=torch.float64),
        return_complex=True,
        pad_mode="constant",
    )
    magnitude = (filters @ spectrum.abs()).numpy()
    return np.asarray(10 * np.log10(magnitude**2 + MIN_POWER))


def semitones_between(from_hz: Sequence[float], to_hz: Sequence[float]) -> int:
    """Whole semitones from the median of one speaker's pitches to the median of another's."""
    if not from_hz or not to_hz:
        return 0
    return round(12 * float(np.log2(np.median(to_hz) / np.median(from_hz))))

"""Early checks of the recordings a voice is to be made from: errors for what cannot work, warnings for what may not."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from anivoice.errors import InvalidParameter
from anivoice.training.voice_audio import FRAMES_PER_SECOND, Recording, frame_levels_db, silence_threshold_db

MIN_SPEECH_S = 20.0
ENOUGH_SPEECH_S = 120.0
SILENT_DB = -60.0
MIN_RATE_HZ = 16000
CLIPPED_AT = 0.999
MIN_CLIPPED_RUN_SAMPLES = 3
MAX_CLIPPED_SHARE = 1e-3
EMPTY_BAND_DB = -75.0
"""A band this far below the recording's whole level holds no sound."""

MAX_MEDIAN_SPREAD_SEMITONES = 7.0


def check_recording(recording: Recording) -> None:
    """Raises InvalidParameter if the recording is silent, clipped or of too low a rate to learn a voice from."""
    name = recording.name
    if recording.sample_rate_hz < MIN_RATE_HZ:
        raise InvalidParameter(
            f"{name} has a sample rate of {recording.sample_rate_hz} Hz; a voice needs at least {MIN_RATE_HZ} Hz"
        )
    if not np.isfinite(recording.samples).all():
        raise InvalidParameter(f"{name} holds values that are not numbers; convert it again")
    levels = frame_levels_db(recording.samples, recording.sample_rate_hz)
    if len(levels) == 0 or float(np.percentile(levels, 95)) < SILENT_DB:
        raise InvalidParameter(f"{name} is silent; remove it, or record it again")
    share = clipped_share(recording)
    if share > MAX_CLIPPED_SHARE:
        raise InvalidParameter(
            f"{name} is clipped ({share:.1%} of its samples stand at full scale); record it again with less gain"
        )


def clipped_share(recording: Recording) -> float:
    """Share of the samples in runs at the recording's largest value, where that is near full scale."""
    at_limit = np.abs(recording.samples) >= CLIPPED_AT
    edges = np.flatnonzero(np.diff(np.concatenate([[False], at_limit, [False]]).astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= MIN_CLIPPED_RUN_SAMPLES].sum()) / max(len(at_limit), 1)


def speech_seconds(recording: Recording) -> float:
    """Time that is not silent."""
    levels = frame_levels_db(recording.samples, recording.sample_rate_hz)
    return float((levels > silence_threshold_db(levels)).sum()) / FRAMES_PER_SECOND


def check_amount(total_speech_s: float) -> list[str]:
    """Warnings. Raises InvalidParameter if there is too little speech to make a voice of."""
    if total_speech_s < MIN_SPEECH_S:
        raise InvalidParameter(
            f"FOLDER: there are only {total_speech_s:.0f} s of speech; a voice needs {MIN_SPEECH_S:.0f} s at the very "
            f"least, and {ENOUGH_SPEECH_S / 60:.0f} minutes or more to sound well"
        )
    if total_speech_s < ENOUGH_SPEECH_S:
        return [
            f"there are only {total_speech_s:.0f} s of speech: {ENOUGH_SPEECH_S / 60:.0f} minutes give a better voice"
        ]
    return []


def bandwidth_hz(recording: Recording) -> float:
    """The highest frequency with sound above EMPTY_BAND_DB relative to the whole."""
    size = 2048
    num = len(recording.samples) // size
    if num == 0:
        return recording.sample_rate_hz / 2
    blocks = recording.samples[: num * size].reshape(num, size) * np.hanning(size)
    power = np.mean(np.abs(np.fft.rfft(blocks, axis=1)) ** 2, axis=0)
    heard = np.flatnonzero(10 * np.log10(power / power.sum() + 1e-20) > EMPTY_BAND_DB)
    return float(heard[-1]) * recording.sample_rate_hz / size if len(heard) else 0.0


def dull_warning(bandwidths_hz: Sequence[float], sample_rate_hz: int) -> list[str]:
    """A warning where most recordings hold nothing in the upper third of the voice's band."""
    typical_hz = float(np.median(bandwidths_hz))
    if typical_hz >= sample_rate_hz / 3:
        return []
    return [
        f"the recordings hold nothing above {typical_hz / 1000:.1f} kHz: the voice will sound dull, whatever its "
        f"rate of {sample_rate_hz} Hz"
    ]


def mixed_speakers_warning(median_f0_hz: Sequence[float]) -> list[str]:
    """A warning where the recordings' median pitches fall into two groups, as those of two people do."""
    semitones = np.sort(12 * np.log2([f0 for f0 in median_f0_hz if f0 > 0] or [1.0]))
    if len(semitones) < 2 or semitones[-1] - semitones[0] < MAX_MEDIAN_SPREAD_SEMITONES:
        return []
    gap, below = max((b - a, a) for a, b in pairwise(semitones))
    if gap < MAX_MEDIAN_SPREAD_SEMITONES / 2:
        return []
    groups = semitones[semitones <= below], semitones[semitones > below]
    low, high = (2 ** (float(np.median(group)) / 12) for group in groups)
    return [
        f"the recordings' pitch falls into two groups (about {low:.0f} and {high:.0f} Hz): is this one speaker? "
        "Keep the recordings of one"
    ]

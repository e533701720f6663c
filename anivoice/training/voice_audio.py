"""A folder of recordings -> slices of even loudness at the voice's rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anivoice.errors import InvalidParameter, UndecodableAudio

AUDIO_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf"))
FRAMES_PER_SECOND = 100
MIN_SLICE_S, MAX_SLICE_S = 1.0, 10.0
EDGE_SILENCE_S = 0.15
SILENCE_BELOW_PEAK_DB = 42.0
"""A frame this far below the recording's loudest frames is silent."""

LOUDNESS_DB = -23.0
"""RMS of the frames that are not silent, relative to full scale."""

MAX_PEAK = 0.95

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """One file, mono. `samples` float32 at `sample_rate_hz`."""

    name: str
    samples: Samples
    sample_rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz


def find_recordings(folder: Path) -> list[Path]:
    """The audio files of a folder and its subfolders, sorted. Raises InvalidParameter if there are none."""
    if not folder.is_dir():
        raise InvalidParameter(f"FOLDER: there is no folder {folder}; give one with recordings of one speaker")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise InvalidParameter(f"FOLDER: there are no audio files in {folder}; wav, flac, ogg and mp3 are read")
    return files


def read_recording(path: Path) -> Recording:
    """Raises UndecodableAudio if it is no audio."""
    import soundfile

    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError) as error:
        raise UndecodableAudio(f"{path} is not audio that can be decoded; remove it or convert it to WAV") from error
    return Recording(path.stem, samples.mean(axis=1, dtype=np.float32), int(rate_hz))


def at_rate(recording: Recording, sample_rate_hz: int) -> Recording:
    """Resampled."""
    import soxr

    if recording.sample_rate_hz == sample_rate_hz:
        return recording
    samples = soxr.resample(recording.samples, recording.sample_rate_hz, sample_rate_hz)
    return Recording(recording.name, np.asarray(samples, np.float32), sample_rate_hz)


def frame_levels_db(samples: Samples, sample_rate_hz: int) -> NDArray[np.float64]:
    """RMS of every 10 ms frame in dB relative to full scale, at least -100."""
    hop = sample_rate_hz // FRAMES_PER_SECOND
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop).astype(np.float64)
    return np.asarray(10 * np.log10(np.maximum(np.mean(frames**2, axis=1), 1e-10)))


def silence_threshold_db(levels_db: NDArray[np.float64]) -> float:
    """Below this a frame counts as silent: a fixed distance from the loudest twentieth of the frames."""
    return float(np.percentile(levels_db, 95)) - SILENCE_BELOW_PEAK_DB


def normalised(recording: Recording) -> Recording:
    """The recording with its speech at LOUDNESS_DB, softer if a peak would be clipped."""
    levels = frame_levels_db(recording.samples, recording.sample_rate_hz)
    speech = levels[levels > silence_threshold_db(levels)]
    rms_db = 10 * np.log10(np.mean(10 ** (speech / 10)))
    gain = 10 ** ((LOUDNESS_DB - rms_db) / 20)
    peak = float(np.abs(recording.samples).max())
    gain = min(gain, MAX_PEAK / peak)
    return Recording(recording.name, (recording.samples * gain).astype(np.float32), recording.sample_rate_hz)


def slices(recording: Recording) -> Iterator[tuple[int, Samples]]:
    """Pieces of MIN_SLICE_S to MAX_SLICE_S with the sample at which each begins, cut at the quietest points, each a
    whole number of 20 ms.

    Silence at their ends is shortened to EDGE_SILENCE_S; what is silent altogether is left out.
    """
    levels = frame_levels_db(recording.samples, recording.sample_rate_hz)
    silent = levels <= silence_threshold_db(levels)
    hop = recording.sample_rate_hz // FRAMES_PER_SECOND
    for start, stop in _cut(levels):
        loud = np.flatnonzero(~silent[start:stop])
        if len(loud) == 0:
            continue
        edge = round(EDGE_SILENCE_S * FRAMES_PER_SECOND)
        first = max(start + int(loud[0]) - edge, start)
        last = min(start + int(loud[-1]) + 1 + edge, stop)
        last -= (last - first) % 2
        if last - first >= MIN_SLICE_S * FRAMES_PER_SECOND:
            yield first * hop, recording.samples[first * hop : last * hop]


def _cut(levels_db: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Frames of each piece. A cut lies where the mean level over 100 ms is lowest in the piece's second half."""
    longest = round(MAX_SLICE_S * FRAMES_PER_SECOND)
    smooth = np.convolve(levels_db, np.ones(10) / 10, mode="same")
    start = 0
    while len(levels_db) - start > longest:
        cut = start + longest // 2 + int(np.argmin(smooth[start + longest // 2 : start + longest]))
        yield start, cut
        start = cut
    yield start, len(levels_db)

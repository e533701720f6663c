"""How a recording is filtered and cut into windows for the networks (SPEC 10).

Positions are samples at 16 kHz, frames are 10 ms. A recording may be longer than memory: what reads it is given a
`Source`, which is anything with a length and slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anivoice.frames import FRAME_SAMPLES, SAMPLE_RATE_HZ

CONTENT_HOP_SAMPLES = 320
"""Cuts on this grid keep the content frames of all windows on one grid."""

HIGH_PASS_HZ = 48
HIGH_PASS_ORDER = 5
HIGH_PASS_SETTLE_SAMPLES = SAMPLE_RATE_HZ
"""After one second the filter's slowest pole has decayed by 40 orders of magnitude."""

HIGH_PASS_CHUNK_SAMPLES = 60 * SAMPLE_RATE_HZ

Samples = NDArray[np.float32] | NDArray[np.float64]


class Source(Protocol):
    """Mono audio at 16 kHz that can be read in slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> Samples: ...


@dataclass(frozen=True)
class Profile:
    """Where a recording may be cut, in seconds.

    Recordings longer than `max_s` are cut about every `center_s`, at the quietest point within `query_s` on both
    sides; every window has `pad_s` of context on both sides.
    """

    pad_s: int
    query_s: int
    center_s: int
    max_s: int

    @property
    def pad_samples(self) -> int:
        return self.pad_s * SAMPLE_RATE_HZ


REFERENCE_PROFILE = Profile(pad_s=1, query_s=6, center_s=38, max_s=41)
"""What the reference uses in full precision."""

DEFAULT_PROFILE = Profile(pad_s=1, query_s=4, center_s=20, max_s=24)
"""Shorter windows: less memory, quicker first results, fairer sharing of the device."""


@dataclass(frozen=True)
class Segment:
    """A window of the recording (it may begin before 0 and end after the last sample) and the frames wanted of it."""

    window_start: int
    window_stop: int
    first_frame: int
    num_frames: int

    @property
    def window_frames(self) -> int:
        return (self.window_stop - self.window_start) // FRAME_SAMPLES


def high_pass(samples: Samples) -> NDArray[np.float64]:
    """Zero-phase Butterworth high-pass, order 5 at 48 Hz, forward and backward, of 16 kHz audio."""
    from scipy.signal import butter, filtfilt

    b, a = butter(HIGH_PASS_ORDER, HIGH_PASS_HZ, btype="high", fs=SAMPLE_RATE_HZ)
    padlen = min(3 * max(len(a), len(b)), len(samples) - 1)
    return np.asarray(filtfilt(b, a, np.asarray(samples, np.float64), padlen=max(padlen, 0)))


def high_pass_chunks(source: Source) -> Iterator[NDArray[np.float64]]:
    """`high_pass` of a recording of any length, in pieces: each is filtered with a second of its neighbours."""
    for start in range(0, len(source), HIGH_PASS_CHUNK_SAMPLES):
        stop = min(start + HIGH_PASS_CHUNK_SAMPLES, len(source))
        before = min(start, HIGH_PASS_SETTLE_SAMPLES)
        filtered = high_pass(source[start - before : stop + HIGH_PASS_SETTLE_SAMPLES])
        yield filtered[before : before + stop - start]


def read_reflected(source: Source, start: int, stop: int) -> Samples:
    """Samples `start` to `stop`, which may lie outside the recording: there it is mirrored, the edge not repeated."""
    length = len(source)
    if start >= 0 and stop <= length:
        return source[start:stop]
    period = max(2 * (length - 1), 1)
    position = np.arange(start, stop) % period
    position = np.minimum(position, period - position)
    first = int(position.min())
    return source[first : int(position.max()) + 1][position - first]


def find_cuts(source: Source, profile: Profile) -> list[int]:
    """Quiet points near every multiple of `center_s`, none if the recording is not longer than `max_s`.

    A point's loudness is the sum of the magnitudes of the 160 samples around it; the first quietest wins.
    """
    length = len(source)
    if length + FRAME_SAMPLES <= profile.max_s * SAMPLE_RATE_HZ:
        return []
    center, query = profile.center_s * SAMPLE_RATE_HZ, profile.query_s * SAMPLE_RATE_HZ
    cuts = []
    for middle in range(center, length, center):
        start, stop = middle - query, min(middle + query, length)
        half = FRAME_SAMPLES // 2
        magnitudes = np.abs(read_reflected(source, start - half, stop + half - 1))
        loudness = np.zeros(stop - start, magnitudes.dtype)
        for offset in range(FRAME_SAMPLES):
            loudness += magnitudes[offset : offset + stop - start]
        cuts.append(start + int(np.argmin(loudness)))
    return cuts


def plan_reference(length: int, cuts: list[int], profile: Profile) -> list[Segment]:
    """The reference's windows. The last one ends a few frames early, and a joint after an odd number of frames loses
    10 ms: `content_frames` of a window decide how many frames it gives.
    """
    pad = profile.pad_samples
    bounds = [0, *(cut // FRAME_SAMPLES * FRAME_SAMPLES for cut in cuts)]
    segments = []
    for i, start in enumerate(bounds):
        stop = bounds[i + 1] + FRAME_SAMPLES if i + 1 < len(bounds) else length
        window_start, window_stop = start - pad, stop + pad
        num_frames = min((window_stop - window_start) // FRAME_SAMPLES, content_frames(window_stop - window_start))
        first_frame = pad // FRAME_SAMPLES
        segments.append(Segment(window_start, window_stop, first_frame, max(num_frames - 2 * first_frame, 0)))
    return segments


def plan_exact(length: int, cuts: list[int], profile: Profile) -> list[Segment]:
    """Windows whose wanted frames join without a gap and cover the whole recording, on one grid of content frames."""
    pad = profile.pad_samples
    rounded = sorted({cut // CONTENT_HOP_SAMPLES * CONTENT_HOP_SAMPLES for cut in cuts} - {0})
    bounds = [0, *rounded, -(-length // FRAME_SAMPLES) * FRAME_SAMPLES]
    return [
        Segment(start - pad, stop + pad, pad // FRAME_SAMPLES, (stop - start) // FRAME_SAMPLES)
        for start, stop in pairwise(bounds)
        if stop > start
    ]


def content_frames(num_samples: int) -> int:
    """10 ms frames that the content encoder gives for a window: two for each of its own."""
    return 2 * max((num_samples - 400) // CONTENT_HOP_SAMPLES + 1, 0)

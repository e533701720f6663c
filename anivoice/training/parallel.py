"""The same sentence by two speakers: one's features brought to the other's timing.

A voice that learns to say its own words from other throats' features keeps the words of whoever speaks through it.
Shape letters: N frames of 20 ms of the one to be followed, M of the other, F feature dimensions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anivoice.models.voice_config import Version
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.training.product_frames import content_frames
from anivoice.training.voice_audio import Recording, find_recordings, normalised

CONTENT_RATE_HZ = 16000
STEP_PENALTY = 0.1
"""What a step that moves in only one of the two utterances costs more than one that moves in both."""

MAX_MEAN_DISTANCE = 0.6
"""Mean cosine distance along the path above which two utterances are not the same sentence."""


def align(distance: NDArray[np.float32]) -> tuple[NDArray[np.int64], float]:
    """The cheapest monotonous path through `distance` `[N, M]` from the first frames to the last (dynamic time
    warping).

    Returns for every one of the N frames a frame of the M, and the path's mean distance. Computed along the
    anti-diagonals, so that numpy does the inner loop.
    """
    N, M = distance.shape
    cost = np.full((N + 1, M + 1), np.inf)
    cost[0, 0] = 0.0
    step = np.zeros((N + 1, M + 1), np.int8)
    for diagonal in range(2, N + M + 1):
        i = np.arange(max(1, diagonal - M), min(N, diagonal - 1) + 1)
        j = diagonal - i
        ways = np.stack([cost[i - 1, j - 1], cost[i - 1, j] + STEP_PENALTY, cost[i, j - 1] + STEP_PENALTY])
        best = ways.argmin(axis=0)
        cost[i, j] = ways[best, np.arange(len(i))] + distance[i - 1, j - 1]
        step[i, j] = best
    return _path(step, N, M), float(cost[N, M]) / max(N, M)


def _path(step: NDArray[np.int8], num_rows: int, num_columns: int) -> NDArray[np.int64]:
    chosen = np.zeros(num_rows, np.int64)
    i, j = num_rows, num_columns
    while i > 0 and j > 0:
        chosen[i - 1] = j - 1
        kind = step[i, j]
        i -= kind != 2
        j -= kind != 1
    return chosen


def cosine_distance(a: Tensor, b: Tensor) -> NDArray[np.float32]:
    """Of every frame of `[N, F]` to every one of `[M, F]`, after their common mean is taken out: `[N, M]`, 0..2."""
    mean = torch.cat([a, b]).mean(0)
    return np.asarray((1 - F.normalize(a - mean, dim=1) @ F.normalize(b - mean, dim=1).t()).numpy())


def parallel_views(
    folders: Sequence[Path], encoder: ContentEncoder, version: Version, max_views: int
) -> Callable[[str, float, Tensor], list[Tensor]]:
    """Looks up, for a recording's name and features, the recordings of that name in other speakers' folders.

    The result always has `max_views` views; where a folder has no such file or says something else, the recording's own
    features stand in.
    """
    files = [{path.stem: path for path in find_recordings(folder)} for folder in folders]

    def views(name: str, begin_s: float, own: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for paths in files:
            if name in paths and len(found) < max_views:
                other = content_frames(read_heard(paths[name]), encoder, version)
                places, mean_distance = align(cosine_distance(own, other))
                if mean_distance <= MAX_MEAN_DISTANCE:
                    found.append(other[torch.from_numpy(places)])
        return found + [own] * (max_views - len(found))

    return views


def read_heard(path: Path) -> NDArray[np.float32]:
    """A recording at 16 kHz and the loudness of a voice's recordings, a whole number of 20 ms."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    loud = normalised(Recording(path.stem, samples.mean(axis=1, dtype=np.float32), int(rate_hz))).samples
    heard = np.asarray(soxr.resample(loud, rate_hz, CONTENT_RATE_HZ), np.float32)
    return heard[: len(heard) // 320 * 320]

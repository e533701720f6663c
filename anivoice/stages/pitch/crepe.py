"""crepe and crepe-tiny: the network's bins through a Viterbi search, without torchcrepe's random dither (SPEC 6.1)."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from anivoice.models.crepe import NUM_BINS, Crepe, bins_to_hz, frequency_to_bin
from anivoice.models.pauses import point

MIN_HZ = 50.0
MAX_HZ = 1100.0
FRAMES_PER_SEARCH = 512
FRAMES_PER_STEP = 32
CPU_FRAMES_PER_BATCH = 16
GPU_FRAMES_PER_BATCH = 128
MAX_BIN_STEP = 12
FILTER_FRAMES = 3
MIN_PERIODICITY = 0.1
TINY = float(np.finfo(np.float32).tiny)


class CrepePitch:
    """`[B, T]` at 16 kHz, on the network's device -> f0 `[B, T//160 + 1]` float32 Hz, 0 = unvoiced."""

    def __init__(self, network: Crepe) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> Tensor:
        rows = []
        for row in samples:
            f0, periodicity = self.raw_contour(row)
            rows.append(torch.where(median_of_three(periodicity) < MIN_PERIODICITY, 0.0, mean_of_three(f0)))
        return torch.stack(rows)

    def raw_contour(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """`[T]` -> f0 in Hz and periodicity 0..1, both `[T//160 + 1]`, before the filters."""
        # On a CPU few frames at once, so that a layer's values stay in the cache.
        frames_per_batch = CPU_FRAMES_PER_BATCH if samples.device.type == "cpu" else GPU_FRAMES_PER_BATCH
        activations = self.network.activation(samples, frames_per_batch)
        lowest, highest = int(frequency_to_bin(MIN_HZ)), int(np.ceil(frequency_to_bin(MAX_HZ)))
        activations[:, :lowest] = -torch.inf
        activations[:, highest:] = -torch.inf
        bins = torch.from_numpy(search_bins(activations.softmax(dim=1).cpu().numpy()))
        periodicity = activations.gather(1, bins[:, None].to(samples.device))[:, 0]
        return bins_to_hz(bins).to(samples.device), periodicity


def median_of_three(values: Tensor) -> Tensor:
    """`[P]`: the lower median of each value and its neighbours; at the ends, of the two that exist."""
    ranked = F.pad(values, (1, 1), value=torch.inf).unfold(-1, FILTER_FRAMES, 1).sort(dim=-1).values
    median = ranked[..., 1].clone()
    median[..., [0, -1]] = ranked[..., [0, -1], 0]
    return median


def mean_of_three(values: Tensor) -> Tensor:
    """`[P]`: the mean of each value and its neighbours; at the ends, of the two that exist."""
    ones = torch.ones_like(values)
    total, count = (F.pad(x, (1, 1)).unfold(-1, FILTER_FRAMES, 1).sum(dim=-1) for x in (values, ones))
    return total / count


def search_bins(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """`[P, 360]` -> the most likely sequence of bins `[P]`, steps of less than 12 bins. Restarts every 512 frames."""
    num_whole = len(probabilities) // FRAMES_PER_SEARCH
    whole, rest = np.split(probabilities, [num_whole * FRAMES_PER_SEARCH])
    paths = []
    for part in (whole.reshape(num_whole, FRAMES_PER_SEARCH, NUM_BINS), rest[None]):
        if part.size:
            paths.append(_viterbi(part).reshape(-1))
    return np.concatenate(paths)


def _viterbi(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """`[S, P, 360]`, S independent sequences -> `[S, P]`.

    Any bin may follow any other, those 12 or more away at a tiny probability.
    """
    num_sequences, num_frames, num_bins = probabilities.shape
    log_probability = np.log(probabilities + np.float32(TINY)).astype(np.float64)
    from_near, sources = _near_transitions()
    rows = np.arange(num_sequences)[:, None]
    came_from = np.empty((num_frames, num_sequences, num_bins), dtype=np.int64)
    value = log_probability[:, 0]
    for frame in range(1, num_frames):
        near = value[:, sources] + from_near
        step = near.argmax(axis=2)
        best, origin = np.take_along_axis(near, step[:, :, None], 2)[:, :, 0], sources[np.arange(num_bins), step]
        far_origin = value.argmax(axis=1)[:, None]
        far = value[rows, far_origin] + np.log(TINY)
        came_from[frame] = np.where(far > best, far_origin, origin)
        value = np.maximum(best, far) + log_probability[:, frame]
        if frame % FRAMES_PER_STEP == 0:
            point()
    return _backtrack(came_from, value.argmax(axis=1))


def _backtrack(came_from: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    num_frames, num_sequences, _ = came_from.shape
    path = np.empty((num_sequences, num_frames), dtype=np.int64)
    path[:, -1] = last
    for frame in range(num_frames - 1, 0, -1):
        path[:, frame - 1] = came_from[frame, np.arange(num_sequences), path[:, frame]]
    return path


@cache
def _near_transitions() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each bin: the log probability of coming from each of the 23 bins around it, and these bins. `[360, 23]` each.

    The probability of a step falls linearly with its size, to 0 at 12 bins; those of one origin sum to 1.
    """
    bins = np.arange(NUM_BINS)
    weights = np.maximum(MAX_BIN_STEP - np.abs(bins[:, None] - bins), 0).astype(np.float64)
    log_transition = np.log(weights / weights.sum(axis=1, keepdims=True) + TINY)
    first = np.clip(bins - MAX_BIN_STEP + 1, 0, NUM_BINS - (2 * MAX_BIN_STEP - 1))
    sources = first[:, None] + np.arange(2 * MAX_BIN_STEP - 1)
    return log_transition[sources, bins[:, None]], sources

"""harvest and dio, from the WORLD vocoder (pyworld)."""

import importlib
import warnings
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.stages.pitch.contour import fit_frames, num_pitch_frames

SAMPLE_RATE_HZ = 16000
FRAME_PERIOD_MS = 10.0
MIN_HZ = 50.0
MAX_HZ = 1100.0
MIN_SAMPLES = 1600


class WorldPitch:
    """`[B, T]` at 16 kHz on any device -> f0 `[B, T//160 + 1]` float32 Hz on that device, 0 = unvoiced (SPEC 6.1).

    `method` is "harvest" or "dio"; both are refined by stonemask. A `median` of three frames follows harvest.
    """

    def __init__(self, method: str, median: bool) -> None:
        self.method = method
        self.median = median
        self.world = _import_pyworld()

    def __call__(self, samples: Tensor) -> Tensor:
        num_frames = num_pitch_frames(samples.shape[-1])
        rows = [torch.from_numpy(self._contour(row)).float() for row in samples.cpu().double().numpy()]
        return torch.stack([fit_frames(row, num_frames) for row in rows]).to(samples.device)

    def _contour(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        # WORLD reads beyond the end of very short input; silence at the end changes nothing else.
        samples = np.pad(samples, (0, max(MIN_SAMPLES - len(samples), 0)))
        estimate = getattr(self.world, self.method)
        f0, times = estimate(samples, SAMPLE_RATE_HZ, f0_floor=MIN_HZ, f0_ceil=MAX_HZ, frame_period=FRAME_PERIOD_MS)
        f0 = np.nan_to_num(self.world.stonemask(samples, f0, times, SAMPLE_RATE_HZ))
        return median_of_three(f0) if self.median else f0


def median_of_three(f0: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each value and its neighbours, 0 beyond the ends."""
    padded = np.pad(f0, 1)
    middle: NDArray[np.float64] = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    return middle


def _import_pyworld() -> ModuleType:
    with warnings.catch_warnings():
        # pyworld asks the deprecated pkg_resources for its own version number.
        warnings.filterwarnings("ignore", message=".*pkg_resources")
        return importlib.import_module("pyworld")

"""pm: Praat's autocorrelation method (parselmouth)."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.stages.pitch.contour import HOP_SAMPLES, fit_frames, num_pitch_frames

SAMPLE_RATE_HZ = 16000
TIME_STEP_S = 0.01
VOICING_THRESHOLD = 0.6
MAX_HZ = 1100.0
OFFLINE_MIN_HZ = 50.0
REALTIME_MIN_HZ = 65.0
PERIODS_PER_WINDOW = 3


class PraatPitch:
    """`[B, T]` at 16 kHz on any device -> f0 `[B, T//160 + 1]` float32 Hz on that device, 0 = unvoiced (SPEC 6.1).

    Praat analyses whole windows of three periods of the lowest pitch only, so it returns fewer frames. Offline its
    frames are put in the middle of T//160 frames, and one unvoiced frame follows. With `realtime` the sound is padded
    with half a window instead, so that the frames begin at sample 0.
    """

    def __init__(self, realtime: bool) -> None:
        import parselmouth

        self.sound_class: Any = parselmouth.Sound
        self.realtime = realtime

    def __call__(self, samples: Tensor) -> Tensor:
        contour = self._realtime_contour if self.realtime else self._offline_contour
        rows = [contour(row) for row in samples.cpu().double().numpy()]
        return torch.stack(rows).to(samples.device)

    def _offline_contour(self, samples: NDArray[np.float64]) -> Tensor:
        f0 = self._analyse(samples, OFFLINE_MIN_HZ)
        num_missing = max(len(samples) // HOP_SAMPLES - len(f0), 0)
        before = (num_missing + 1) // 2
        return fit_frames(torch.nn.functional.pad(f0, (before, 0)), num_pitch_frames(len(samples)))

    def _realtime_contour(self, samples: NDArray[np.float64]) -> Tensor:
        half_window = math.ceil(PERIODS_PER_WINDOW / 2 / REALTIME_MIN_HZ * SAMPLE_RATE_HZ)
        f0 = self._analyse(np.pad(samples, (half_window, half_window + 1)), REALTIME_MIN_HZ)
        return fit_frames(f0, num_pitch_frames(len(samples)))

    def _analyse(self, samples: NDArray[np.float64], min_hz: float) -> Tensor:
        """Praat refuses a sound shorter than its window: zeros on both sides bring it there."""
        num_missing = max(math.ceil(PERIODS_PER_WINDOW / min_hz * SAMPLE_RATE_HZ) + 1 - len(samples), 0)
        samples = np.pad(samples, (num_missing // 2, num_missing - num_missing // 2))
        pitch = self.sound_class(samples, SAMPLE_RATE_HZ).to_pitch_ac(
            time_step=TIME_STEP_S, voicing_threshold=VOICING_THRESHOLD, pitch_floor=min_hz, pitch_ceiling=MAX_HZ
        )
        frequency_hz: NDArray[np.float64] = pitch.selected_array["frequency"]
        return torch.from_numpy(np.nan_to_num(frequency_hz)).float()

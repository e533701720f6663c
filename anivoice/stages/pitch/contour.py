"""The one copy of what happens to a pitch contour after the estimator (SPEC 6.2, 6.3).

A contour is `[..., P]` in Hz, one value per 10 ms, 0 = unvoiced, float32 or float64; results keep dtype and device.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HOP_SAMPLES = 160
FRAMES_PER_SECOND = 100
MIN_COARSE_HZ = 50.0
MAX_COARSE_HZ = 1100.0
MAX_COARSE = 255


def num_pitch_frames(num_samples: int) -> int:
    """One frame at sample 0 and one every 10 ms."""
    return num_samples // HOP_SAMPLES + 1


def fit_frames(f0: Tensor, num_frames: int) -> Tensor:
    """Cuts `[..., P]` at the end, or continues it with unvoiced frames."""
    return F.pad(f0, (0, max(num_frames - f0.shape[-1], 0)))[..., :num_frames]


def interpolate_unvoiced(f0: Tensor) -> Tensor:
    """Fills unvoiced frames on a straight line between their voiced neighbours, constant beyond the first and the last.

    A contour without any voiced frame stays 0 (SPEC 6.2 step 1). `[..., P]`, each row by itself.
    """
    num_frames = f0.shape[-1]
    frames = torch.arange(num_frames, device=f0.device).expand(f0.shape)
    voiced = f0 > 0
    left = torch.where(voiced, frames, -1).cummax(dim=-1).values
    right = torch.where(voiced, frames, num_frames).flip(-1).cummin(dim=-1).values.flip(-1)
    left, right = torch.where(left < 0, right, left), torch.where(right == num_frames, left, right)
    # Without any voiced frame both are num_frames by now: any index will do, the value there is 0.
    left, right = left.clamp(max=num_frames - 1), right.clamp(max=num_frames - 1)
    left_hz, right_hz = f0.gather(-1, left), f0.gather(-1, right)
    slope = (right_hz - left_hz) / (right - left).clamp(min=1)
    filled: Tensor = left_hz + slope * (frames - left)
    return torch.where(voiced, f0, filled)


def shift_semitones(f0: Tensor, semitones: float) -> Tensor:
    """Transposes; unvoiced frames stay 0. Live with a formant shift: key minus formant (SPEC 6.3)."""
    factor: float = 2.0 ** (semitones / 12.0)
    return f0 * factor


def coarse_pitch(f0: Tensor) -> Tensor:
    """`[..., P]` Hz -> int64 1..255, linear in mel from 50 to 1100 Hz, rounded half to even, in the dtype of `f0`.

    Offline calls it with float64, live with float32 (SPEC 6.2 step 3, 6.3). Unvoiced frames give 1.
    """
    low, high = _mel(MIN_COARSE_HZ), _mel(MAX_COARSE_HZ)
    mel = 1127.0 * torch.log(1.0 + f0 / 700.0)
    scaled = (mel - low) * (MAX_COARSE - 1) / (high - low) + 1.0
    scaled = torch.where(mel > 0, scaled, 1.0)
    coarse: Tensor = scaled.clamp(1.0, MAX_COARSE).round().long()
    return coarse


def apply_f0_points(f0: Tensor, points: Sequence[tuple[float, float]], start_frame: int) -> Tensor:
    """Writes a user's curve over `f0`: `points` are (seconds, Hz), joined by straight lines (SPEC 6.2, f0 file).

    The curve begins at `start_frame` (100 x the padding in seconds), whatever the first point's time, and what goes
    beyond the end is cut. Apply it after the key shift: the file's values are not transposed.
    """
    if not points:
        return f0
    seconds, hz = np.array(sorted(points), dtype=np.float64).T
    num_values = round((seconds[-1] - seconds[0]) * FRAMES_PER_SECOND + 1)
    curve = np.interp(np.arange(num_values), seconds * FRAMES_PER_SECOND, hz)
    end_frame = min(start_frame + num_values, f0.shape[-1])
    result = f0.clone()
    if end_frame > start_frame:
        result[..., start_frame:end_frame] = torch.from_numpy(curve[: end_frame - start_frame]).to(f0)
    return result


def _mel(frequency_hz: float) -> float:
    return 1127.0 * math.log(1.0 + frequency_hz / 700.0)

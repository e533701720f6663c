"""The one copy of what happens to a pitch contour after the estimator (SPEC 6.2, 6.3).

A contour is `[..., P]` in Hz, one value per 10 ms, 0 = unvoiced, float32 or float64; results keep dtype and device.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

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
    # Without any voiced frame both are outside: any index inside will do, the value there is 0.
    left, right = left.clamp(0, num_frames - 1), right.clamp(0, num_frames - 1)
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


def legacy_dio_contour(f0: Tensor, num_frames: int) -> Tensor:
    """What the older pipeline's dio helper made of dio's `[P]`: rounded to 0.1 Hz, resized, gaps filled (SPEC 6.2).

    No conversion uses it: it exists so that voices which were prepared with that helper can be compared.
    """
    rounded = (f0.double() * 10.0).round() / 10.0
    source = torch.where(rounded < 0.001, torch.nan, rounded).cpu().numpy()
    positions = np.arange(num_frames) * len(source) / num_frames
    resized = np.nan_to_num(np.interp(positions, np.arange(len(source)), source))
    return _fill_gaps_held(torch.from_numpy(resized)).to(f0)


def _fill_gaps_held(f0: Tensor) -> Tensor:
    """Leading gap: the first voiced value. Inner gaps: a line that arrives one frame early. Last gap: held to the end.

    A voiced frame at the very end does not close a gap before it, but is overwritten.
    """
    num_frames = f0.shape[-1]
    voiced = torch.nonzero(f0 > 0)[:, 0].tolist()
    if voiced[-1:] == [num_frames - 1] and voiced[-2:-1] != [num_frames - 2]:
        voiced.pop()
    filled = torch.zeros_like(f0)
    if not voiced:
        return filled
    filled[: voiced[0]] = f0[voiced[0]]
    filled[voiced[-1] :] = f0[voiced[-1]]
    for left, right in pairwise(voiced):
        num_steps = max(right - left - 1, 1)
        steps = torch.arange(right - left, dtype=f0.dtype, device=f0.device)
        filled[left:right] = f0[left] + (f0[right] - f0[left]) * steps / num_steps
    return filled

"""What the networks are given of live requests. No torch here."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anivoice.engine.batch import LiveRequest
from anivoice.stages.live_shape import FRAME_SAMPLES
from anivoice.stages.pitch.methods import pitch_window_frames


def whole_windows(requests: Sequence[LiveRequest]) -> NDArray[np.float32]:
    """`[B, P * 160]`: what is missing at the end is silence."""
    windows = np.empty((len(requests), requests[0].shape.window_frames * FRAME_SAMPLES), np.float32)
    for window, request in zip(windows, requests, strict=True):
        window[: len(request.samples)] = request.samples
        window[len(request.samples) :] = 0
    return windows


def check(request: LiveRequest) -> None:
    """Raises ValueError for what cannot be."""
    shape, P = request.shape, request.shape.window_frames
    problem = shape.problem
    if len(request.f0_known_hz) != P:
        problem = f"a live window of {len(request.samples)} samples needs {P} values of f0"
    elif not 0 <= request.num_known_frames <= P or request.window_frame % 2:
        problem = "a live window begins at an even frame and knows no more frames than it has"
    if problem is not None:
        raise ValueError(problem)


def num_known_frames(request: LiveRequest) -> int:
    """Frames whose f0 is not taken from the estimator: before the stream began there is none."""
    return max(request.num_known_frames, min(-request.window_frame, request.shape.window_frames))


def known_hz(request: LiveRequest) -> NDArray[np.float32]:
    """`[P]`, 0 where it is not known."""
    is_known = np.arange(request.shape.window_frames) < request.num_known_frames
    return np.where(is_known, request.f0_known_hz, 0).astype(np.float32)


def pitch_groups(requests: Sequence[LiveRequest]) -> dict[tuple[int, float], list[int]]:
    """Rows that the estimator can hear together: by the frames it hears, and the weight of a hybrid."""
    groups: defaultdict[tuple[int, float], list[int]] = defaultdict(list)
    for row, request in enumerate(requests):
        num_unknown = request.shape.window_frames - num_known_frames(request)
        groups[pitch_window_frames(request.algo, num_unknown), request.f0_method_weight].append(row)
    return groups

"""What the networks are given of window requests. No torch here."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anivoice.engine.batch import WindowRequest
from anivoice.frames import FRAME_SAMPLES
from anivoice.stages.pitch.methods import pitch_window_frames


def whole_windows(requests: Sequence[WindowRequest]) -> NDArray[np.float32]:
    """`[B, P * 160]`, or a little more: what is missing at the end is silence."""
    num_samples = max(requests[0].layout.window_frames * FRAME_SAMPLES, len(requests[0].samples))
    windows = np.empty((len(requests), num_samples), np.float32)
    for window, request in zip(windows, requests, strict=True):
        window[: len(request.samples)] = request.samples
        window[len(request.samples) :] = 0
    return windows


def check(request: WindowRequest) -> None:
    """Raises ValueError for what cannot be."""
    problem, P = request.layout.problem, request.layout.window_frames
    if len(request.f0_known_hz) != P:
        problem = f"a window of {P} frames needs as many values of f0, not {len(request.f0_known_hz)}"
    elif not 0 <= request.num_known_frames <= P:
        problem = f"a window of {P} frames cannot know {request.num_known_frames}"
    elif request.layout.overlaps and request.window_frame % 2:
        problem = "a live window begins at an even frame"
    elif len(request.samples) <= (P - 1) * FRAME_SAMPLES:
        problem = f"{len(request.samples)} samples do not fill a window of {P} frames"
    if problem is not None:
        raise ValueError(problem)


def num_known_frames(request: WindowRequest) -> int:
    """Frames whose f0 is not taken from the estimator: before the stream began there is none."""
    return max(request.num_known_frames, min(-request.window_frame, request.layout.window_frames))


def known_hz(request: WindowRequest) -> NDArray[np.float32] | NDArray[np.float64]:
    """`[P]`, 0 where it is not known."""
    known = request.f0_known_hz.copy()
    known[request.num_known_frames :] = 0
    return known


def pitch_groups(requests: Sequence[WindowRequest]) -> dict[tuple[int, float], list[int]]:
    """Rows that the estimator can hear together: by the frames it hears, and the weight of a hybrid."""
    groups: defaultdict[tuple[int, float], list[int]] = defaultdict(list)
    for row, request in enumerate(requests):
        num_unknown = request.layout.window_frames - num_known_frames(request)
        groups[pitch_window_frames(request.algo, num_unknown), request.f0_method_weight].append(row)
    return groups

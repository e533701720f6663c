"""The same sentence by several speakers of a corpus, brought to one's timing by the times of their phones.

Surer than `parallel`, which finds the times from the features: where an encoder mishears somebody, they lead astray.
Shape letters: N frames of 20 ms of the one to be followed, F feature dimensions.
"""

from collections import defaultdict
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.models.voice_config import Version
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.training.manifest import Clip, read_manifest
from anivoice.training.parallel import read_heard
from anivoice.training.phones import INDEX_OF_PHONE, SILENCE
from anivoice.training.product_frames import CONTENT_FIELD_SAMPLES, content_frames, warped_content_frames

HOP_S, CENTRE_S = 0.02, CONTENT_FIELD_SAMPLES / 2 / 16000
MIN_MATCHED = 0.7
"""Share of the phones that two utterances must have in common to be the same sentence."""

OWN_SPLITS = ("target_train", "reference")
PEOPLE_ENGINE = "human"
WARPS = (0.85, 1.18)
"""Speeds at which others are played once all have been heard plainly: yet other throats."""


def matched_times(own: Clip, other: Clip) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Times in s in `own`, and in `other` where the same phones begin and end; None if too few are the same."""
    ours, theirs = (
        [(phone, begin, end) for phone, begin, end in clip.phones if phone != SILENCE] for clip in (own, other)
    )
    matcher = SequenceMatcher(None, [one[0] for one in ours], [one[0] for one in theirs], autojunk=False)
    pairs = [(ours[i + k], theirs[j + k]) for i, j, count in matcher.get_matching_blocks() for k in range(count)]
    if len(pairs) < MIN_MATCHED * max(len(ours), len(theirs), 1):
        return None
    times = [(0.0, 0.0), *((a[side], b[side]) for a, b in pairs for side in (1, 2)), (own.seconds, other.seconds)]
    own_s, other_s = np.array(times).T
    return own_s, other_s


def timed_views(
    corpus: Path, encoder: ContentEncoder, version: Version, max_views: int
) -> Callable[[str, float, Tensor], list[Tensor]]:
    """Looks up who else says a recording's sentence: recorded people first, then the same again at other speeds. The
    recording is known by its name, which is that of a clip of the shipped voice in the corpus.

    The result always has `max_views` views; the recording's own features stand in where nobody says the same.
    """
    clips = read_manifest(corpus)
    owners = {clip.path.stem: clip for clip in clips if clip.split in OWN_SPLITS}
    others: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (clip.engine != PEOPLE_ENGINE, clip.name)):
        if clip.split == "train":
            others[clip.text_id].append(clip)

    def hear(clip: Clip, number: int) -> Tensor:
        samples = read_heard(clip.path)
        if number == 0:
            return content_frames(samples, encoder, version)
        return warped_content_frames(samples, encoder, version, WARPS[(number + len(clip.name)) % len(WARPS)])

    def views(name: str, begin_s: float, own: Tensor) -> list[Tensor]:
        owner = owners.get(name)
        if owner is None:
            return [own] * max_views
        timed = [(other, matched_times(owner, other)) for other in others[owner.text_id][:max_views]]
        same = [(other, times) for other, times in timed if times is not None]
        found = []
        for k in range(max_views if same else 0):
            other, times = same[k % len(same)]
            found.append(_at_own_times(owner, own, begin_s, hear(other, k // len(same)), times))
        return found or [own] * max_views

    return views


def _at_own_times(
    owner: Clip, own: Tensor, begin_s: float, heard: Tensor, times: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Tensor:
    """`[N, F]`: what was heard of the other at the same phones; the own features where the recording is silent."""
    own_times = np.arange(len(own), dtype=np.float64) * HOP_S + (begin_s + CENTRE_S)
    places = np.rint((np.interp(own_times, *times) - CENTRE_S) / HOP_S).astype(np.int64).clip(0, len(heard) - 1)
    silent = torch.from_numpy(owner.phones_at(own_times) == INDEX_OF_PHONE[SILENCE])
    return torch.where(silent.unsqueeze(1), own, heard[torch.from_numpy(places)])

"""Batches for the content encoder: two differently changed copies of the same moment of each clip.

Shape letters: B clips, M mel frames (10 ms), N content frames (20 ms). Rows 0 to B are the first copies, B to 2 B the
second.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.models.encoder_mel import NUM_MELS
from anivoice.training.content_cache import Copy, Shard
from anivoice.training.manifest import UNKNOWN_INDEX
from anivoice.training.mel_augment import FLOOR, change_spectra

PERSON_EXPONENT = 0.75
"""A person with n frames is drawn in proportion to n to this power: nobody dominates, the rare are not worn out.
Of a person's clips each is drawn in proportion to its length."""
PLAIN_SHARE = 0.6
LATE_START_SHARE = 0.15
"""Of the rows begin with silence, as streams do."""


class Batch(NamedTuple):
    """`mel` `[2B, M, 80]`; `phone` `[2B, N]` (-1 unknown); `person` `[B]`; `match` `[B, N]`: the frame of the second
    copy at the same moment as each of the first, -1 if none.
    """

    mel: Tensor
    phone: Tensor
    person: Tensor
    match: Tensor


class Clips:
    """The clips of `persons` in a cache, drawn at random by person."""

    def __init__(self, shards: Iterable[Shard], persons: Sequence[str]) -> None:
        self.person_index = {person: index for index, person in enumerate(persons)}
        copies: dict[str, list[tuple[Shard, Copy]]] = defaultdict(list)
        for shard in shards:
            for copy in shard.copies:
                if copy.person in self.person_index:
                    copies[copy.clip].append((shard, copy))
        self.clips = list(copies.values())
        frames: Counter[str] = Counter()
        for (_, copy), *_ in self.clips:
            frames[copy.person] += copy.num_frames
        weights = np.array([c.num_frames * frames[c.person] ** (PERSON_EXPONENT - 1) for (_, c), *_ in self.clips])
        self.probabilities = weights / weights.sum()

    def draw(self, num_clips: int, num_mel_frames: int, generator: np.random.Generator) -> Batch:
        """A batch; `num_mel_frames` is even."""
        chosen = generator.choice(len(self.clips), num_clips, p=self.probabilities)
        rows: list[tuple[_Row, _Row]] = [self._pair(self.clips[i], num_mel_frames, generator) for i in chosen]
        ordered = [first for first, _ in rows] + [second for _, second in rows]
        noise = torch.Generator().manual_seed(int(generator.integers(2**62)))
        return Batch(
            change_spectra(torch.from_numpy(np.stack([row.mel for row in ordered])), noise),
            torch.from_numpy(np.stack([row.phone for row in ordered])).long(),
            torch.tensor([self.person_index[first.person] for first, _ in rows]),
            torch.from_numpy(np.stack([_match(first, second) for first, second in rows])),
        )

    def _pair(
        self, copies: Sequence[tuple[Shard, Copy]], num_frames: int, generator: np.random.Generator
    ) -> "tuple[_Row, _Row]":
        """Two copies at the same moment; the plain one more rarely than the others."""
        weights = np.array([PLAIN_SHARE if copy.kind == 0 else 1.0 for _, copy in copies])
        first, second = generator.choice(len(copies), 2, replace=False, p=weights / weights.sum())
        shard, copy = copies[first]
        pad = num_frames // 2 if generator.random() < LATE_START_SHARE else 20
        start = int(generator.integers(-pad, max(copy.num_frames - num_frames, 0) + 1))
        other_shard, other = copies[second]
        other_start = round(start * copy.speed / other.speed)
        return _cut(shard, copy, start, num_frames), _cut(other_shard, other, other_start, num_frames)


class _Row(NamedTuple):
    """`num_mel_frames` of one copy; phones at 50 Hz, `moment_s` in the clip's own time."""

    mel: NDArray[np.float32]
    phone: NDArray[np.int8]
    moment_s: NDArray[np.float64]
    person: str


def _cut(shard: Shard, copy: Copy, start: int, num_frames: int) -> _Row:
    """Frames `start` to `start + num_frames` of the copy, silence where it has none."""
    mel = np.full((num_frames, NUM_MELS), FLOOR, np.float32)
    phone = np.zeros(num_frames, np.int8)
    low, high = max(start, 0), min(start + num_frames, copy.num_frames)
    if high > low:
        inside, source = slice(low - start, high - start), slice(copy.first + low, copy.first + high)
        mel[inside], phone[inside] = shard.mel[source], shard.phone[source]
    moment_s = np.arange(start, start + num_frames, 2, dtype=np.float64) * (0.01 * copy.speed)
    return _Row(mel, phone[::2], moment_s, copy.person)


def _match(first: _Row, second: _Row) -> NDArray[np.int64]:
    """For each content frame of `first` that of `second` at the same moment, -1 where that is outside."""
    step_s = second.moment_s[1] - second.moment_s[0]
    frame = np.round((first.moment_s - second.moment_s[0]) / step_s).astype(np.int64)
    return np.where((frame >= 0) & (frame < len(second.moment_s)), frame, UNKNOWN_INDEX)

"""The slices of a voice's recordings with all that training needs of them, on disk, and the batches drawn from them.

Shape letters: B batch, T frames of 10 ms, N = T / 2 frames of 20 ms, S samples per frame, F feature dimensions,
V views: features of the same words at the same times, as the recording itself says them and as other throats would.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anivoice.errors import InvalidParameter
from anivoice.stages.pitch.contour import coarse_pitch

LIST_NAME = "slices.json"
INT16_SCALE = 32767
OWN_VIEW_SHARE = 0.4
"""How often a batch takes the recording's own features; the other views share the rest."""


class Batch(NamedTuple):
    """`waveform` `[B, T * S]`, `f0_hz` and `coarse_pitch` `[B, T]`, `content` `[B, T, F]` (None without an encoder)."""

    waveform: Tensor
    f0_hz: Tensor
    coarse_pitch: Tensor
    content: Tensor | None


@dataclass(frozen=True)
class Slice:
    """One slice, memory-mapped: `waveform` int16 `[T * S]`, `f0_hz` `[T]`, `views` float16 `[V, N, F]` or None."""

    waveform: NDArray[np.int16]
    f0_hz: NDArray[np.float32]
    views: NDArray[np.float16] | None

    @property
    def num_frames(self) -> int:
        return len(self.f0_hz)


def write_sound(folder: Path, name: str, waveform: NDArray[np.float32], f0_hz: NDArray[np.float32]) -> None:
    """Writes a slice's waveform `[T * S]` and f0 `[T]` into the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    pcm = np.round(waveform * INT16_SCALE).clip(-INT16_SCALE, INT16_SCALE)
    _save(folder / f"{name}.wave.npy", pcm.astype("<i2"))
    _save(folder / f"{name}.f0.npy", f0_hz.astype("<f4"))


def write_views(folder: Path, name: str, views: Sequence[Tensor]) -> None:
    """Writes a slice's features `[N, F]` into the cache, its own first."""
    stacked = torch.stack(list(views)).to(torch.float16)
    # Features of a small encoder are zero from some dimension on: those are not stored.
    used = torch.nonzero(stacked.abs().amax((0, 1)))
    _save(folder / f"{name}.views.npy", stacked[..., : int(used.max()) + 1 if len(used) else 1].numpy())


def has_sound(folder: Path, name: str) -> bool:
    return (folder / f"{name}.f0.npy").is_file()


def has_views(folder: Path, name: str) -> bool:
    return (folder / f"{name}.views.npy").is_file()


def _save(path: Path, array: NDArray[np.generic]) -> None:
    """Whole or not at all: a preparation that was interrupted goes on."""
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("wb") as file:
        np.save(file, array)
    unfinished.replace(path)


def write_list(
    folder: Path, names: Sequence[str], held_out: Sequence[str], frame_samples: int, content_dim: int
) -> None:
    """Which slices are trained on and which only looked at."""
    content = {
        "frame_samples": frame_samples,
        "content_dim": content_dim,
        "train": list(names),
        "held_out": list(held_out),
    }
    (folder / LIST_NAME).write_text(json.dumps(content, indent=0) + "\n")


class SliceSet:
    """The slices of one list. `batch` is a function of seed and step alone, so that a resumed run sees the same."""

    def __init__(self, folder: Path, part: str = "train") -> None:
        self.folder = folder
        try:
            listed = json.loads((folder / LIST_NAME).read_text("utf-8"))
        except OSError as error:
            raise InvalidParameter(f"{folder} holds no prepared recordings ({error.strerror})") from error
        self.frame_samples: int = listed["frame_samples"]
        self.content_dim: int = listed["content_dim"]
        self.slices = [self._open(name) for name in listed[part]]
        lengths = np.array([s.num_frames for s in self.slices], np.float64)
        self.shares = lengths / lengths.sum() if len(lengths) else lengths

    @property
    def has_content(self) -> bool:
        return all(s.views is not None for s in self.slices)

    @property
    def total_seconds(self) -> float:
        return sum(s.num_frames for s in self.slices) / 100

    def batch(self, seed: int, step: int, batch_size: int, num_frames: int) -> Batch:
        """Random pieces of `num_frames` (even); shorter slices are continued with silence."""
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(self.slices), batch_size, p=self.shares)
        pieces = [self._piece(self.slices[i], rng, num_frames) for i in chosen]
        waveform = torch.from_numpy(np.stack([wave for wave, _, _ in pieces])).float() / INT16_SCALE
        f0_hz = torch.from_numpy(np.stack([f0 for _, f0, _ in pieces]))
        contents = [self._widened(content) for _, _, content in pieces if content is not None]
        content = torch.stack(contents).repeat_interleave(2, dim=1) if contents else None
        return Batch(waveform, f0_hz, coarse_pitch(f0_hz), content)

    def content(self, piece: Slice, view: int = 0) -> Tensor:
        """A view of a slice `[N, F]` float32."""
        assert piece.views is not None
        return self._widened(piece.views[view])

    def _widened(self, content: NDArray[np.float16]) -> Tensor:
        """Stored features with the zeros that were left out."""
        return F.pad(torch.from_numpy(content.astype(np.float32)), (0, self.content_dim - content.shape[-1]))

    def _piece(
        self, piece: Slice, rng: np.random.Generator, num_frames: int
    ) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float16] | None]:
        start = 2 * int(rng.integers(0, max(piece.num_frames - num_frames, 0) // 2 + 1))
        stop = min(start + num_frames, piece.num_frames)
        missing = num_frames - (stop - start)
        S = self.frame_samples
        wave = np.pad(piece.waveform[start * S : stop * S], (0, missing * S))
        f0 = np.pad(piece.f0_hz[start:stop], (0, missing))
        if piece.views is None:
            return wave, f0, None
        view = 0
        if len(piece.views) > 1 and rng.random() >= OWN_VIEW_SHARE:
            view = int(rng.integers(1, len(piece.views)))
        content = piece.views[view, start // 2 : stop // 2]
        return wave, f0, np.pad(content, ((0, missing // 2), (0, 0)), mode="edge")

    def _open(self, name: str) -> Slice:
        views = self.folder / f"{name}.views.npy"
        return Slice(
            np.load(self.folder / f"{name}.wave.npy", mmap_mode="r"),
            np.load(self.folder / f"{name}.f0.npy"),
            np.load(views, mmap_mode="r") if views.is_file() else None,
        )

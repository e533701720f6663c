"""f0 post-processing against f0/f0_post (SPEC 6.2, 6.3)."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import stated
from numpy.typing import NDArray
from torch import Tensor

from anivoice.stages.pitch.contour import (
    apply_f0_points,
    coarse_pitch,
    interpolate_unvoiced,
    shift_semitones,
)

REALTIME_NAME = re.compile(r"rt_key(-?[\d.]+)_formant(-?[\d.]+)")


class Vectors:
    def __init__(self, folder: Path, name: str) -> None:
        self.side = json.loads((folder / f"{name}.json").read_text())
        self.arrays = np.load(folder / f"{name}.npz")
        self.rtol = self.side["tolerance"]["f0"]["rtol"]

    def groups(self, ending: str) -> list[str]:
        """The parts before `ending` of all expected arrays that end so."""
        return [name.removesuffix(ending) for name in self.side["expected"] if name.endswith(ending)]

    def raw(self, group: str) -> Tensor:
        return torch.from_numpy(self.arrays[f"{group.split('/')[0]}/raw"]).double()


@pytest.fixture(scope="module")
def vectors(conformance_dir: Path) -> Vectors:
    return Vectors(conformance_dir / "f0", "f0_post")


def assert_contour(vectors: Vectors, f0: Tensor, f0_name: str, coarse_name: str, max_steps: int = 0) -> None:
    np.testing.assert_allclose(f0.numpy(), vectors.arrays[f0_name], rtol=vectors.rtol)
    difference: NDArray[np.int64] = np.abs(coarse_pitch(f0).numpy() - vectors.arrays[coarse_name])
    assert difference.max() <= max_steps


def key_of(group: str) -> float:
    return float(group.split("/")[1].removeprefix("key"))


def test_interpolated_offline_contours(vectors: Vectors) -> None:
    groups = vectors.groups("/f0_2026")
    assert groups
    for group in groups:
        f0 = shift_semitones(interpolate_unvoiced(vectors.raw(group)), key_of(group))
        assert_contour(vectors, f0, f"{group}/f0_2026", f"{group}/coarse_2026")


def test_legacy_offline_contours_keep_zeros(vectors: Vectors) -> None:
    groups = [group for group in vectors.groups("/f0_legacy") if "/" in group]
    assert groups
    for group in groups:
        f0 = shift_semitones(vectors.raw(group), key_of(group))
        assert_contour(vectors, f0, f"{group}/f0_legacy", f"{group}/coarse_legacy")


def test_realtime_contours_are_float32(vectors: Vectors) -> None:
    groups = [group for group in vectors.groups("/f0") if "/rt_" in group]
    assert groups
    for group in groups:
        match = REALTIME_NAME.fullmatch(group.split("/")[1])
        assert match
        semitones = float(match[1]) - float(match[2])
        f0 = shift_semitones(interpolate_unvoiced(vectors.raw(group)), semitones).float()
        assert_contour(vectors, f0, f"{group}/f0", f"{group}/coarse", max_steps=1)


def test_user_f0_file(vectors: Vectors) -> None:
    meaning = vectors.side["expected"]["f0file/coarse_legacy"]["meaning"]
    points = [(float(seconds), float(hz)) for seconds, hz in vectors.arrays["f0file/points"]]
    shifted = shift_semitones(vectors.raw("f0file"), stated(meaning, "key="))
    f0 = apply_f0_points(shifted, points, start_frame=100 * int(stated(meaning, "x_pad=")))
    assert_contour(vectors, f0, "f0file/f0_legacy", "f0file/coarse_legacy")


def test_coarse_pitch_is_exact(vectors: Vectors) -> None:
    coarse = coarse_pitch(torch.from_numpy(vectors.arrays["quant/f0"]))
    np.testing.assert_array_equal(coarse.numpy(), vectors.arrays["quant/coarse"])

import pytest
import torch

from anivoice.stages.pitch.contour import (
    apply_f0_points,
    coarse_pitch,
    fit_frames,
    interpolate_unvoiced,
    legacy_dio_contour,
    num_pitch_frames,
    shift_semitones,
)


@pytest.mark.parametrize(("num_samples", "num_frames"), [(0, 1), (1, 1), (159, 1), (160, 2), (16000, 101)])
def test_one_frame_per_ten_ms_and_one_more(num_samples: int, num_frames: int) -> None:
    assert num_pitch_frames(num_samples) == num_frames


def test_fit_frames_cuts_and_pads_at_the_end() -> None:
    f0 = torch.tensor([[1.0, 2.0, 3.0]])
    assert fit_frames(f0, 2).tolist() == [[1.0, 2.0]]
    assert fit_frames(f0, 5).tolist() == [[1.0, 2.0, 3.0, 0.0, 0.0]]


def test_interpolation_by_hand() -> None:
    f0 = torch.tensor([0.0, 100.0, 0.0, 0.0, 130.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(interpolate_unvoiced(f0), torch.tensor([100.0, 100, 110, 120, 130, 130]).double())


def test_interpolation_treats_rows_apart_and_leaves_an_unvoiced_row() -> None:
    f0 = torch.tensor([[0.0, 0.0, 0.0], [0.0, 200.0, 0.0]])
    assert interpolate_unvoiced(f0).tolist() == [[0.0, 0.0, 0.0], [200.0, 200.0, 200.0]]


def test_interpolation_leaves_a_voiced_contour_alone() -> None:
    f0 = 100 + torch.rand(50, generator=torch.Generator().manual_seed(1))
    assert torch.equal(interpolate_unvoiced(f0), f0)


def test_shift_keeps_unvoiced_frames() -> None:
    assert shift_semitones(torch.tensor([0.0, 100.0]), 12).tolist() == [0.0, 200.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coarse_pitch_range(dtype: torch.dtype) -> None:
    coarse = coarse_pitch(torch.tensor([0.0, 1.0, 50.0, 1100.0, 5000.0], dtype=dtype))
    assert coarse.tolist() == [1, 1, 1, 255, 255]
    assert coarse.dtype == torch.int64


def test_coarse_pitch_rises_with_the_pitch() -> None:
    coarse = coarse_pitch(torch.linspace(40.0, 1200.0, 2000))
    assert (coarse.diff() >= 0).all()
    assert set(coarse.tolist()) == set(range(1, 256))


def test_f0_points_are_written_from_the_start_frame_on() -> None:
    f0 = apply_f0_points(torch.zeros(6), [(0.02, 300.0), (0.0, 100.0)], start_frame=2)
    assert f0.tolist() == [0.0, 0.0, 100.0, 200.0, 300.0, 0.0]


def test_f0_points_beyond_the_end_are_cut() -> None:
    assert apply_f0_points(torch.zeros(3), [(0.0, 100.0), (1.0, 100.0)], start_frame=2).tolist() == [0.0, 0.0, 100.0]
    assert apply_f0_points(torch.zeros(3), [(0.0, 100.0)], start_frame=9).tolist() == [0.0, 0.0, 0.0]
    assert apply_f0_points(torch.ones(3), [], start_frame=0).tolist() == [1.0, 1.0, 1.0]


def test_legacy_gaps_are_held_when_nothing_closes_them() -> None:
    assert legacy_dio_contour(torch.tensor([0.0, 100, 100, 0, 0]), 5).tolist() == [100.0] * 5
    assert legacy_dio_contour(torch.tensor([100.0, 0, 0, 200]), 4).tolist() == [100.0] * 4
    assert legacy_dio_contour(torch.zeros(4), 4).tolist() == [0.0] * 4

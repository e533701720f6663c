import pytest
import torch

from anivoice.stages.pitch.hybrid import mix_contours

A = torch.tensor([100.0, 100.0, 0.0, 0.0])
B = torch.tensor([200.0, 0.0, 200.0, 0.0])


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.0, [100.0, 100.0, 0.0, 0.0]),
        (0.33, [100.0 * 2**0.33, 100.0, 0.0, 0.0]),
        (0.5, [100.0 * 2**0.5, 100.0, 200.0, 0.0]),
        (0.75, [100.0 * 2**0.75, 0.0, 200.0, 0.0]),
        (1.0, [200.0, 0.0, 200.0, 0.0]),
    ],
)
def test_mean_where_both_are_voiced_and_the_vote_elsewhere(weight: float, expected: list[float]) -> None:
    torch.testing.assert_close(mix_contours(A, B, weight), torch.tensor(expected))


def test_rows_of_a_batch() -> None:
    mixed = mix_contours(torch.stack([A, B]), torch.stack([B, A]), 0.5)
    torch.testing.assert_close(mixed[0], mixed[1])

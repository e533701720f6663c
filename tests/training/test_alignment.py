"""Two who say the same: each moment of one has its place in the other."""

import numpy as np

from anivoice.training.alignment import same_place

PHONES = [("SIL", 0.0, 0.2), ("T", 0.2, 0.3), ("IY", 0.3, 0.5)]
SLOWER = [("SIL", 0.0, 0.1), ("T", 0.1, 0.3), ("AH", 0.3, 0.4), ("IY", 0.4, 0.8)]


def test_times_go_evenly_through_each_phone() -> None:
    places = same_place(PHONES, SLOWER, np.array([0.1, 0.2, 0.25, 0.3, 0.4]))
    np.testing.assert_allclose(places, [0.05, 0.1, 0.2, 0.4, 0.6])


def test_what_the_other_does_not_say_has_no_place() -> None:
    places = same_place(SLOWER, PHONES, np.array([0.35, 0.45, 0.9]))
    assert np.isnan(places[[0, 2]]).all()
    np.testing.assert_allclose(places[1], 0.325)

"""How much of a live window the pitch estimator hears."""

import pytest

from anivoice.audio.live_geometry import PRESET_GEOMETRY, Preset
from anivoice.stages.pitch.methods import pitch_window_frames


@pytest.mark.parametrize("preset", PRESET_GEOMETRY)
def test_rmvpe_hears_no_less_settled_pitch_than_in_the_reference_and_no_padding(preset: Preset) -> None:
    geometry = PRESET_GEOMETRY[preset]
    num_unknown = geometry.block_frames + geometry.lookahead_frames + 1
    num_frames = pitch_window_frames("rmvpe", num_unknown)
    assert (num_frames + 1) % 32 == 0
    assert num_frames - num_unknown >= 15
    assert num_frames - num_unknown < 15 + 32


def test_other_methods_hear_a_fixed_context() -> None:
    assert pitch_window_frames("fcpe", 20) == 40
    assert pitch_window_frames("pm", 20) == 50
    assert pitch_window_frames("hybrid[harvest+rmvpe]", 20) == 63
    assert pitch_window_frames("rmvpe", 16) == 31

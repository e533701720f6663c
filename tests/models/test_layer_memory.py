"""A stream through the small content encoder: every frame computed once, and the same as of a whole file."""

import pytest
import torch
from models.small_encoders import TINY, tiny_encoder
from torch import Tensor

from anivoice.models.encoder_mel import MelFrontEnd
from anivoice.models.layer_memory import LayerMemory
from anivoice.models.small_encoder import SmallEncoder
from anivoice.models.stream_window import StreamWindow

HOP = 320
WINDOW_FRAMES, BLOCK_FRAMES = 24, 8
UNSETTLED = -(-(80 + TINY.lookahead_samples) // HOP)
"""Frames at a window's end that have not heard all they look ahead at."""


@pytest.fixture
def model() -> SmallEncoder:
    return tiny_encoder()


def sound(num_frames: int, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.rand(1, num_frames // 4 + 1, generator=generator).repeat_interleave(4 * HOP, dim=1)
    return (0.3 * torch.randn(1, num_frames * HOP, generator=generator) * loudness[:, : num_frames * HOP]).contiguous()


NUM_PHONES = 40
"""Of a stream the zeros behind the phones are left out."""


def told(model: SmallEncoder, samples: Tensor) -> Tensor:
    """What a file gives, without the zeros."""
    features = model(samples, "v2")
    assert not features[:, :, NUM_PHONES:].any()
    return features[:, :, :NUM_PHONES]


def heard(model: SmallEncoder, memory: LayerMemory, samples: Tensor, first_frame: int, missing: int = 0) -> Tensor:
    return model(samples, "v2", StreamWindow(memory, first_frame, samples.shape[1] - missing))


def window_of(recording: Tensor, first_frame: int) -> Tensor:
    return recording[:, first_frame * HOP : (first_frame + WINDOW_FRAMES) * HOP]


@pytest.mark.parametrize("block_frames", [1, 3, BLOCK_FRAMES, 17])
def test_a_stream_in_short_windows_gives_what_the_file_gives(model: SmallEncoder, block_frames: int) -> None:
    """Though the windows are far shorter than what a frame hears."""
    recording = sound(200)
    whole, memory = told(model, recording), model.new_memory(0)
    for first_frame in range(0, 200 - WINDOW_FRAMES, block_frames):
        made = heard(model, memory, window_of(recording, first_frame), first_frame)
        num_settled = WINDOW_FRAMES - UNSETTLED
        expected = whole[:, first_frame : first_frame + num_settled]
        torch.testing.assert_close(made[:, :num_settled], expected, rtol=1e-4, atol=1e-4)
        assert made.shape == (1, WINDOW_FRAMES - 1, NUM_PHONES)
    by_itself = told(model, window_of(recording, 176))
    assert not torch.allclose(by_itself[:, :num_settled], whole[:, 176 : 176 + num_settled], atol=0.05)


def test_only_new_frames_are_computed(model: SmallEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, memory = sound(100), model.new_memory(0)
    heard(model, memory, window_of(recording, 0), 0)
    lengths: list[int] = []
    forward = MelFrontEnd.forward

    def watched(front_end: MelFrontEnd, samples: Tensor) -> Tensor:
        lengths.append(samples.shape[1])
        return forward(front_end, samples)

    monkeypatch.setattr(MelFrontEnd, "forward", watched)
    heard(model, memory, window_of(recording, BLOCK_FRAMES), BLOCK_FRAMES)
    assert lengths == [(BLOCK_FRAMES + UNSETTLED) * HOP]


def test_the_first_window_is_that_of_a_window_by_itself(model: SmallEncoder) -> None:
    samples = sound(WINDOW_FRAMES)
    torch.testing.assert_close(heard(model, model.new_memory(0), samples, -10), told(model, samples))


def test_the_same_window_twice_is_the_same(model: SmallEncoder) -> None:
    samples, memory = sound(WINDOW_FRAMES), model.new_memory(0)
    first = heard(model, memory, samples, 12)
    torch.testing.assert_close(heard(model, memory, samples, 12), first)


@pytest.mark.parametrize("first_frame", [WINDOW_FRAMES + 30, -WINDOW_FRAMES])
def test_behind_a_gap_everything_is_computed(model: SmallEncoder, first_frame: int) -> None:
    memory, samples = model.new_memory(0), sound(WINDOW_FRAMES, 6)
    heard(model, memory, sound(WINDOW_FRAMES), 0)
    torch.testing.assert_close(heard(model, memory, samples, first_frame), told(model, samples))


def test_frames_whose_samples_are_not_all_there_are_not_kept(model: SmallEncoder) -> None:
    recording, memory = sound(100), model.new_memory(0)
    unfinished = window_of(recording, 0).clone()
    unfinished[:, -100:] = 0
    heard(model, memory, unfinished, 0, missing=100)
    made = heard(model, memory, window_of(recording, BLOCK_FRAMES), BLOCK_FRAMES)
    expected = told(model, recording)[:, BLOCK_FRAMES : BLOCK_FRAMES + WINDOW_FRAMES - UNSETTLED]
    torch.testing.assert_close(made[:, : WINDOW_FRAMES - UNSETTLED], expected, rtol=1e-4, atol=1e-4)


def test_assumed_frames_are_not_computed(model: SmallEncoder) -> None:
    made = heard(model, model.new_memory(15), sound(WINDOW_FRAMES), 0)
    assert made.shape == (1, WINDOW_FRAMES - 1, NUM_PHONES)
    assert not made[:, :15].any()
    assert made[:, 15:].any()

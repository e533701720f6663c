"""A stream's windows through the content encoder's convolutions: what is kept, what is computed, by which norm."""

import numpy as np
import pytest
import soundfile
import torch
from conformance import OWN_VECTORS
from torch import Tensor

from anivoice.models.conv_memory import ConvMemory
from anivoice.models.hubert_features import FeatureExtractor
from anivoice.models.stream_window import StreamWindow

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
WINDOW_FRAMES, BLOCK_FRAMES = 60, 8
HOP = 320


@pytest.fixture
def extractor() -> FeatureExtractor:
    torch.manual_seed(3)
    extractor = FeatureExtractor((16,) * 7, KERNELS, STRIDES).requires_grad_(False)
    for layer in extractor.conv_layers:
        torch.nn.init.kaiming_normal_(layer.conv.weight)
    extractor.conv_layers[0].layer_norm.bias.normal_(std=0.5)
    extractor.conv_layers[0].layer_norm.weight.uniform_(0.5, 1.5)
    return extractor


@pytest.fixture
def memory(extractor: FeatureExtractor) -> ConvMemory:
    return extractor.new_memory(0)


def window_of(recording: Tensor, first_frame: int) -> Tensor:
    return recording[first_frame * HOP : (first_frame + WINDOW_FRAMES) * HOP]


def heard(
    extractor: FeatureExtractor, memory: ConvMemory, samples: Tensor, first_frame: int, missing: int = 0
) -> Tensor:
    return extractor.stream(samples, StreamWindow(memory, first_frame, len(samples) - missing))


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_the_first_window_is_that_of_a_window_by_itself(extractor: FeatureExtractor, memory: ConvMemory) -> None:
    samples = 0.1 * torch.randn(WINDOW_FRAMES * HOP)
    torch.testing.assert_close(heard(extractor, memory, samples, 0), extractor(samples[None]), rtol=1e-4, atol=1e-5)


def test_frames_are_kept_and_only_new_ones_computed(extractor: FeatureExtractor, memory: ConvMemory) -> None:
    recording = 0.1 * torch.randn((WINDOW_FRAMES + BLOCK_FRAMES) * HOP)
    first = heard(extractor, memory, window_of(recording, 0), 0)
    second = heard(extractor, memory, window_of(recording, BLOCK_FRAMES), BLOCK_FRAMES)
    num_known = WINDOW_FRAMES - BLOCK_FRAMES - 1
    assert torch.equal(second[:, :, :num_known], first[:, :, BLOCK_FRAMES:])
    assert second.shape == first.shape == (1, 16, WINDOW_FRAMES - 1)
    # Noise has the same moments everywhere: with those of more of it the new frames are what they would be.
    by_itself = extractor(window_of(recording, BLOCK_FRAMES)[None])
    assert relative(second[:, :, num_known:], by_itself[:, :, num_known:]) < 0.03


def test_new_frames_are_normed_by_the_moments_of_all_that_was_heard(
    extractor: FeatureExtractor, memory: ConvMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anivoice.models.conv_memory.HISTORY_SECONDS", 1e6)
    memory = extractor.new_memory(0)
    loudness = torch.linspace(0.02, 0.3, (WINDOW_FRAMES + 2 * BLOCK_FRAMES) * HOP)
    recording = loudness * torch.randn(len(loudness))
    for first_frame in (0, BLOCK_FRAMES, 2 * BLOCK_FRAMES):
        made = heard(extractor, memory, window_of(recording, first_frame), first_frame)
    whole = extractor(recording[None])
    torch.testing.assert_close(made[:, :, -BLOCK_FRAMES:], whole[:, :, -BLOCK_FRAMES:], rtol=1e-3, atol=1e-3)


def test_what_lies_before_the_stream_does_not_count(extractor: FeatureExtractor, memory: ConvMemory) -> None:
    samples = 0.1 * torch.randn(WINDOW_FRAMES * HOP)
    samples[: 40 * HOP] = 0
    made = heard(extractor, memory, samples, -40)
    expected = extractor(samples[None, 40 * HOP :])
    torch.testing.assert_close(made[:, :, 40:], expected, rtol=1e-3, atol=1e-3)


def test_the_same_window_twice_is_the_same(extractor: FeatureExtractor, memory: ConvMemory) -> None:
    samples = 0.1 * torch.randn(WINDOW_FRAMES * HOP)
    first = heard(extractor, memory, samples, 12)
    mean, covariance = memory.moments()
    assert torch.equal(heard(extractor, memory, samples, 12), first)
    assert torch.equal(memory.moments()[0], mean)
    assert torch.equal(memory.moments()[1], covariance)


@pytest.mark.parametrize("first_frame", [WINDOW_FRAMES + 30, -WINDOW_FRAMES])
def test_behind_a_gap_everything_is_computed(extractor: FeatureExtractor, memory: ConvMemory, first_frame: int) -> None:
    heard(extractor, memory, 0.1 * torch.randn(WINDOW_FRAMES * HOP), 0)
    samples = 0.1 * torch.randn(WINDOW_FRAMES * HOP)
    made = heard(extractor, memory, samples, first_frame)
    assert relative(made, extractor(samples[None])) < 0.2


def test_frames_whose_samples_are_not_all_there_are_not_kept(extractor: FeatureExtractor, memory: ConvMemory) -> None:
    recording = 0.1 * torch.randn((WINDOW_FRAMES + BLOCK_FRAMES) * HOP)
    unfinished = window_of(recording, 0).clone()
    unfinished[-100:] = 0
    heard(extractor, memory, unfinished, 0, missing=100)
    made = heard(extractor, memory, window_of(recording, BLOCK_FRAMES), BLOCK_FRAMES)
    assert relative(made, extractor(window_of(recording, BLOCK_FRAMES)[None])) < 0.2


def test_assumed_frames_cost_nothing(extractor: FeatureExtractor) -> None:
    made = heard(extractor, extractor.new_memory(20), 0.1 * torch.randn(WINDOW_FRAMES * HOP), 0)
    assert made.shape == (1, 16, WINDOW_FRAMES - 1)
    assert not made[:, :, :20].any()
    assert made[:, :, 20].any()


def test_of_speech_the_stream_is_as_near_to_the_whole_as_windows_by_themselves(
    extractor: FeatureExtractor, memory: ConvMemory
) -> None:
    speech, _ = soundfile.read(OWN_VECTORS / "audio" / "speech_long_16k.wav", dtype="float32")
    recording = torch.from_numpy(speech)
    whole = extractor(recording[None])
    carried, by_themselves = [], []
    for first_frame in range(0, len(recording) // HOP - WINDOW_FRAMES, BLOCK_FRAMES):
        samples = window_of(recording, first_frame)
        expected = whole[:, :, first_frame : first_frame + WINDOW_FRAMES - 1]
        carried.append(relative(heard(extractor, memory, samples, first_frame), expected))
        by_themselves.append(relative(extractor(samples[None]), expected))
    assert len(carried) > 20
    assert np.median(carried) < np.median(by_themselves)

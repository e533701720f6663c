"""The text encoder on live streams: it remembers, and is nearer to the whole stream than a window by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anivoice.checkpoints.voice_file import load_voice_file
from anivoice.models.prior_memory import HISTORY_FRAMES, PriorMemory
from anivoice.models.vits import Synthesizer, TextEncoder, build_synthesizer
from anivoice.voices.assets import EMBEDDED_VOICE

WEIGHTS = Path(__file__).parents[2] / "weights"
BLOCK, WANTED, CONTEXT = 16, 33, 128
"""Frames of 10 ms: between two windows, from the first one wanted to a window's end, heard where nothing is known."""
NUM_FRAMES = 640


@pytest.fixture(scope="module")
def voice() -> Synthesizer:
    file = load_voice_file(WEIGHTS / f"{EMBEDDED_VOICE}.pth")
    return build_synthesizer(file.config, file.state)


@pytest.fixture(scope="module")
def text_encoder(voice: Synthesizer) -> TextEncoder:
    return voice.enc_p


@pytest.fixture(scope="module")
def spoken() -> tuple[Tensor, Tensor]:
    """Features `[1, T, 768]` of phones of 80 ms, one surely and another less so, and a gliding coarse pitch."""
    generator = torch.Generator().manual_seed(4)
    features = torch.full((1, NUM_FRAMES, 768), -0.9)
    features[:, :, 40:] = 0.0
    for start in range(0, NUM_FRAMES, 8):
        first, second = torch.randperm(40, generator=generator)[:2].tolist()
        features[:, start : start + 8, first] = 0.9
        features[:, start : start + 8, second] = 0.3
    pitch = 90 + (20 * torch.sin(torch.arange(NUM_FRAMES) / 30)).long()
    return features, pitch.unsqueeze(0)


def computed(
    text_encoder: TextEncoder, spoken: tuple[Tensor, Tensor], memory: PriorMemory, end: int
) -> tuple[Tensor, int]:
    """Mean of the prior `[1, C, WANTED]` of the window that ends at `end`, and how many frames were computed for it."""
    wanted = end - WANTED
    start = memory.start(wanted, CONTEXT)
    features, pitch = (part[:, start:end] for part in spoken)
    prior = text_encoder.stream(features, pitch, memory, start, wanted + BLOCK - start)
    return prior.mean[:, :, wanted - start :], end - start


def by_itself(text_encoder: TextEncoder, spoken: tuple[Tensor, Tensor], start: int, end: int) -> Tensor:
    features, pitch = (part[:, start:end] for part in spoken)
    return text_encoder(features, pitch, None, end - start - WANTED).mean


def ends() -> Iterator[int]:
    return iter(range(CONTEXT + WANTED, NUM_FRAMES + 1, BLOCK))


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


@torch.inference_mode()
def test_it_is_nearer_to_the_whole_stream_than_a_window_by_itself(
    text_encoder: TextEncoder, spoken: tuple[Tensor, Tensor]
) -> None:
    memory, apart, window_apart = PriorMemory(), [], []
    for end in ends():
        whole = by_itself(text_encoder, spoken, 0, end)
        apart.append(rms(computed(text_encoder, spoken, memory, end)[0] - whole))
        window_apart.append(rms(by_itself(text_encoder, spoken, end - WANTED - CONTEXT, end) - whole))
    assert sum(apart) < 0.8 * sum(window_apart)


@torch.inference_mode()
def test_where_nothing_is_known_it_is_the_window_by_itself(
    text_encoder: TextEncoder, spoken: tuple[Tensor, Tensor]
) -> None:
    end = 400
    found, num_computed = computed(text_encoder, spoken, PriorMemory(), end)
    assert num_computed == WANTED + CONTEXT
    expected = by_itself(text_encoder, spoken, end - num_computed, end)
    assert torch.allclose(found, expected, atol=1e-5)


@torch.inference_mode()
def test_a_frame_is_computed_once_and_after_a_gap_all_is_forgotten(
    text_encoder: TextEncoder, spoken: tuple[Tensor, Tensor]
) -> None:
    memory = PriorMemory()
    num_computed = [computed(text_encoder, spoken, memory, end)[1] for end in (200, 216, 232, 264, 620, 620)]
    fresh = WANTED + CONTEXT
    assert num_computed == [fresh, WANTED, WANTED, WANTED + BLOCK, fresh, fresh]


@torch.inference_mode()
def test_what_is_kept_has_bounds(text_encoder: TextEncoder, spoken: tuple[Tensor, Tensor]) -> None:
    memory = PriorMemory()
    for end in ends():
        computed(text_encoder, spoken, memory, end)
    assert {layer.keys.shape[2] for layer in memory.layers} == {HISTORY_FRAMES}
    assert {layer.values.shape[2] for layer in memory.layers} == {HISTORY_FRAMES}
    assert {layer.mixed.shape[2] for layer in memory.layers} == {2}


@torch.inference_mode()
def test_a_measured_window_passes_for_one_in_the_middle(
    text_encoder: TextEncoder, spoken: tuple[Tensor, Tensor]
) -> None:
    memory = PriorMemory(assumes=True)
    assert computed(text_encoder, spoken, memory, 400)[1] == WANTED
    assert {layer.keys.shape[2] for layer in memory.layers} == {HISTORY_FRAMES}

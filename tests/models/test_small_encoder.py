"""The small content encoder: HuBERT's frames, strictly limited context, features as documented."""

from dataclasses import replace

import pytest
import torch
from models.small_encoders import TINY, tiny_encoder

from anivoice.errors import InvalidModelFile
from anivoice.models.encoder_mel import MEAN_FRAMES, RunningMean
from anivoice.models.pauses import pausing
from anivoice.models.small_encoder import SmallEncoderConfig

FRAME = 320


def _sound(num_samples: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    steps = torch.rand(1, num_samples // 800 + 1, generator=generator).repeat_interleave(800, dim=1)
    return 0.2 * torch.randn(1, num_samples, generator=generator) * steps[:, :num_samples]


@pytest.mark.parametrize("num_samples", [0, 399, 400, 559, 719, 720, 1039, 1040, 16000, 16079, 16080])
def test_frames_are_those_of_hubert(num_samples: int) -> None:
    features = tiny_encoder()(_sound(num_samples), "v2")
    assert features.shape == (1, max((num_samples - 400) // 320 + 1, 0), 768)


def test_a_frame_knows_nothing_beyond_its_look_ahead() -> None:
    model, n = tiny_encoder(), 20
    samples = _sound(16000)
    end = FRAME * n + 400 + TINY.lookahead_samples
    changed, changed_earlier = samples.clone(), samples.clone()
    changed[:, end:] = 0.5
    changed_earlier[:, end - 160 :] = 0.5
    features = model(samples, "v2")[:, n]
    torch.testing.assert_close(model(changed, "v2")[:, n], features, rtol=0, atol=1e-6)
    assert not torch.allclose(model(changed_earlier, "v2")[:, n], features, atol=1e-5)


def test_the_shipped_sizes_look_ahead_less_than_60_ms() -> None:
    assert SmallEncoderConfig().lookahead_samples <= 960


def test_a_window_hears_what_the_whole_file_gives() -> None:
    model = tiny_encoder()
    samples = _sound(FRAME * 250)
    whole = model(samples, "v2")
    reach = 2 + len(TINY.right_frames) * (TINY.attention_frames + TINY.conv_kernel - 2)
    context = MEAN_FRAMES // 2 + reach
    begin, end = 20, 240
    window = model(samples[:, FRAME * begin : FRAME * end], "v2")
    first, last = begin + context, end - (400 + TINY.lookahead_samples) // FRAME - 1
    assert last - first > 10
    torch.testing.assert_close(window[:, context : last - begin], whole[:, first:last], rtol=0, atol=2e-4)


def test_rows_of_a_batch_do_not_meet() -> None:
    model = tiny_encoder()
    first, second = _sound(8000, 1), _sound(8000, 2)
    both = model(torch.cat([first, second]), "v2")
    torch.testing.assert_close(both[1:], model(second, "v2"), rtol=0, atol=1e-5)


def test_features_are_phones_then_zeros() -> None:
    features = tiny_encoder()(_sound(16000), "v2")[0]
    phones, rest = features.split([40, 768 - 40], dim=1)
    assert phones.min() >= -1
    assert phones.max() <= 1
    probabilities = (4 * (phones - 1)).exp()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(features)), atol=1e-3, rtol=0)
    assert not rest.any()


def test_it_pauses_after_every_layer() -> None:
    points: list[None] = []
    with pausing(lambda: points.append(None)):
        tiny_encoder()(_sound(8000), "v2")
    assert len(points) >= len(TINY.right_frames)


def test_v1_voices_are_refused() -> None:
    with pytest.raises(InvalidModelFile, match="cannot serve v1 voices"):
        tiny_encoder()(_sound(8000), "v1")
    with pytest.raises(InvalidModelFile, match="v1"):
        replace(TINY).feature_size("v1")


def test_half_precision_keeps_the_features() -> None:
    samples = _sound(16000)
    features, half = tiny_encoder()(samples, "v2"), tiny_encoder().to(torch.bfloat16)(samples.bfloat16(), "v2")
    assert half.dtype == torch.bfloat16
    assert (features - half.float()).abs().mean() < 0.02


def test_loudness_is_taken_away_and_silence_leaves_the_mean() -> None:
    normalise = RunningMean()
    speech = torch.randn(1, 2 * MEAN_FRAMES, 80, generator=torch.Generator().manual_seed(3)) - 4.0
    difference, _ = normalise(speech)
    louder, _ = normalise(speech + 2.0)
    assert (louder - difference)[:, MEAN_FRAMES:].abs().max() < 0.4
    silence = torch.full((1, 30, 80), -15.0)
    _, mean = normalise(torch.cat([speech, silence], dim=1))
    assert (mean[:, -1] - mean[:, 2 * MEAN_FRAMES - 1]).abs().max() < 0.3
    _, nothing = normalise(torch.full((1, 200, 80), -15.0))
    assert nothing.abs().max() < 2.0

"""Long computations: many points where others may pass, the same result."""

import threading
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from anivoice.errors import Cancelled
from anivoice.models.flow import NUM_COUPLINGS, NUM_WAVENET_LAYERS
from anivoice.models.hubert import HubertConfig, HubertModel
from anivoice.models.hubert_features import CPU_CHUNK_FRAMES
from anivoice.models.pauses import in_chunks, pausing, point
from anivoice.models.vits import Prior, Synthesizer
from anivoice.models.voice_config import VoiceConfig

T = TypeVar("T")
ENCODER = HubertConfig((8,) * 7, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 24, 16, 9, 3, 16, 4)
VOICE = VoiceConfig("v2", True, 6, 8, 16, 2, 3, 3, "1", (3,), ((1,),), (10, 4, 2), 16, (20, 8, 4), 1, 5, 8000)


def counted(compute: Callable[..., T], *given: object) -> tuple[T, int]:
    """The result, and the number of points."""
    points: list[None] = []
    with pausing(lambda: points.append(None)):
        result = compute(*given)
    return result, len(points)


@pytest.fixture
def voice() -> Synthesizer:
    torch.manual_seed(2)
    model = Synthesizer(VOICE).eval().requires_grad_(False)
    for layer in model.enc_p.encoder.attn_layers:
        layer.emb_rel_k.normal_()
        layer.emb_rel_v.normal_()
    return model


def test_in_chunks_pauses_after_each() -> None:
    x = torch.arange(10.0).view(2, 5)
    result, num_pauses = counted(in_chunks, lambda y: 2 * y, x, 2, 1)
    assert torch.equal(result, 2 * x)
    assert num_pauses == 3


def test_on_other_devices_everything_is_one_piece() -> None:
    result, num_pauses = counted(in_chunks, lambda y: 2 * y, torch.empty(2, 50, device="meta"), 2, 1)
    assert result.shape == (2, 50)
    assert num_pauses == 1


def test_a_point_is_where_the_thread_was_lent_for_it() -> None:
    seen: list[str] = []

    def inner() -> None:
        seen.append("inner")
        with pausing(None):
            point()

    with pausing(lambda: seen.append("outer")):
        with pausing(inner):
            point()
        point()
        beside = threading.Thread(target=point)
        beside.start()
        beside.join()
    point()
    assert seen == ["inner", "outer"]


def test_what_a_point_raises_ends_the_computation() -> None:
    def end() -> None:
        raise Cancelled("the caller went away")

    with pausing(end), pytest.raises(Cancelled):
        in_chunks(torch.neg, torch.zeros(4), 2, 0)


def test_the_content_of_a_long_window(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    model = HubertModel(ENCODER).eval().requires_grad_(False)
    samples = 0.3 * torch.randn(2, 2 * CPU_CHUNK_FRAMES * 320 + 3000)
    whole = model(samples, "v2")
    monkeypatch.setattr("anivoice.models.hubert.STEP_FRAMES", 25)
    chunked, num_pauses = counted(model, samples, "v2")
    torch.testing.assert_close(chunked, whole)
    num_chunks, num_long_chunks = -(-whole.shape[1] // 25), -(-whole.shape[1] // 100)
    num_convs = len(ENCODER.conv_dims)
    per_layer = 2 * num_long_chunks + 2 * num_chunks
    assert num_pauses == 2 * 3 * num_convs + num_chunks + ENCODER.num_layers * per_layer


@pytest.mark.parametrize("lengths", [None, torch.tensor([60, 41])])
def test_the_prior_of_a_long_window(
    voice: Synthesizer, lengths: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, coarse = torch.randn(2, 60, 768), torch.randint(1, 255, (2, 60))
    whole = voice.prior(content, coarse, lengths)
    monkeypatch.setattr("anivoice.models.attention.STEP_FRAMES", 13)
    chunked, num_pauses = counted(voice.prior, content, coarse, lengths)
    assert num_pauses == VOICE.num_layers * (1 + 5 + 2)
    assert_same(chunked, whole, 0)


@pytest.mark.parametrize("first_frame", [1, 3, 4, 37, 59])
@pytest.mark.parametrize("lengths", [None, torch.tensor([60, 41])])
def test_the_prior_of_the_last_frames_is_that_of_the_whole(
    voice: Synthesizer, lengths: Tensor | None, first_frame: int
) -> None:
    content, coarse = torch.randn(2, 60, 768), torch.randint(1, 255, (2, 60))
    assert_same(voice.prior(content, coarse, lengths, first_frame), voice.prior(content, coarse, lengths), first_frame)


def assert_same(part: Prior, whole: Prior, first_frame: int) -> None:
    torch.testing.assert_close(part.mean, whole.mean[:, :, first_frame:])
    torch.testing.assert_close(part.log_std, whole.log_std[:, :, first_frame:])


def test_the_flow_pauses_after_every_layer(voice: Synthesizer) -> None:
    prior = voice.prior(torch.randn(1, 20, 768), torch.randint(1, 255, (1, 20)))
    z, num_pauses = counted(voice.latent, prior, voice.speaker(torch.tensor([0])))
    assert num_pauses == NUM_COUPLINGS * NUM_WAVENET_LAYERS
    torch.testing.assert_close(z, voice.latent(prior, voice.speaker(torch.tensor([0]))))
    assert z.shape == prior.mean.shape

"""What each loss asks for, on made-up batches."""

import torch
from models.small_encoders import TINY, tiny_encoder
from torch import Tensor

from anivoice.models.small_encoder import SmallEncoder
from anivoice.training.content_batches import Batch
from anivoice.training.content_losses import Losses, LossWeights, TrainingHeads, content_losses

B, M, N = 2, 40, 20


def _batch(**changes: Tensor) -> Batch:
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        mel=torch.randn(2 * B, M, 80, generator=generator) - 4.0,
        phone=torch.randint(1, 40, (2 * B, N), generator=generator),
        person=torch.tensor([0, 1]),
        match=torch.arange(N).expand(B, N).clone(),
    )
    return batch._replace(**changes)


def _network() -> tuple[SmallEncoder, TrainingHeads]:
    encoder = tiny_encoder().requires_grad_(True)
    torch.manual_seed(1)
    return encoder, TrainingHeads(TINY.num_phones, 2)


def _losses(batch: Batch, weights: LossWeights, strength: float = 1.0) -> tuple[Losses, SmallEncoder, TrainingHeads]:
    encoder, heads = _network()
    losses = content_losses(encoder, heads, batch, weights, strength)
    losses.total.backward()  # type: ignore[no-untyped-call]
    return losses, encoder, heads


def test_unknown_phones_and_missing_moments_teach_nothing() -> None:
    nothing = _batch(phone=torch.full((2 * B, N), -1), match=torch.full((B, N), -1))
    known = _batch(phone=nothing.phone.clone().index_fill_(1, torch.tensor([3]), 5))
    losses, _, _ = _losses(known, LossWeights())
    assert losses.phones > 0
    losses, encoder, _ = _losses(nothing._replace(phone=known.phone), LossWeights(phones=0.0, speaker=0.0))
    assert (losses.sameness, losses.total) == (0, 0)
    assert not any(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


def test_two_equal_copies_are_the_same_and_two_different_ones_are_not() -> None:
    half = _batch().mel[:B]
    same, _, _ = _losses(_batch(mel=torch.cat([half, half])), LossWeights())
    assert same.sameness < 1e-6
    assert _losses(_batch(), LossWeights())[0].sameness > 1e-3


def test_sameness_compares_the_same_moments() -> None:
    mel = _batch().mel[:B]
    later = torch.cat([mel[:, 4:], mel[:, -4:]], dim=1)
    match = (torch.arange(N) - 2).clamp(min=-1).expand(B, N)
    aligned, _, _ = _losses(_batch(mel=torch.cat([mel, later]), match=match), LossWeights())
    unaligned, _, _ = _losses(_batch(mel=torch.cat([mel, later])), LossWeights())
    assert aligned.sameness < 0.8 * unaligned.sameness


def test_the_encoder_climbs_where_the_speaker_heads_descend() -> None:
    only_speaker = LossWeights(phones=0.0, sameness=0.0, speaker=1.0)
    before, encoder, heads = _losses(_batch(), only_speaker)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    worse = content_losses(encoder, heads, _batch(), only_speaker, 1.0)
    assert worse.speaker > before.speaker
    encoder, heads_after = _network()
    with torch.no_grad():
        for parameter, trained in zip(heads_after.parameters(), heads.parameters(), strict=True):
            if trained.grad is not None:
                parameter -= 0.05 * trained.grad
    better = content_losses(encoder, heads_after, _batch(), only_speaker, 1.0)
    assert better.speaker < before.speaker


def test_without_strength_the_encoder_does_not_mind() -> None:
    _, encoder, heads = _losses(_batch(), LossWeights(phones=0.0, sameness=0.0), strength=0.0)
    assert not any(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in heads.parameters())

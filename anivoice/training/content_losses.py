"""What the content encoder is taught, with the heads that only training needs.

- phones: which one each frame is;
- sameness: two changed copies of one moment give the same features;
- speaker: a classifier tries to tell the person by the features, and the encoder to prevent it (Ganin & Lempitsky,
  2015: the gradient is turned around).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.small_encoder import SmallEncoder, told_features
from anivoice.training.content_batches import Batch
from anivoice.training.manifest import UNKNOWN_INDEX
from anivoice.training.phones import INDEX_OF_PHONE, SILENCE

LABEL_SMOOTHING = 0.05
SILENCE_WEIGHT = 0.5


@dataclass(frozen=True)
class LossWeights:
    """What each part counts."""

    phones: float = 1.0
    sameness: float = 0.3
    speaker: float = 0.3


class Losses(NamedTuple):
    """Scalars; `accuracy` and `speaker_accuracy` are shares, for the log."""

    total: Tensor
    phones: Tensor
    sameness: Tensor
    speaker: Tensor
    accuracy: Tensor
    speaker_accuracy: Tensor


class _TurnGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -`strength`."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor, strength: float) -> Tensor:
        context.strength = strength  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return -context.strength * grads[0], None  # type: ignore[attr-defined]


class TrainingHeads(nn.Module):
    """Speaker heads beside an encoder."""

    def __init__(self, num_phones: int, num_persons: int) -> None:
        super().__init__()
        self.frame_speaker = _classifier(num_phones, num_persons)
        self.mean_speaker = _classifier(num_phones, num_persons)


def _classifier(width: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 160), nn.SiLU(), nn.Linear(160, num_classes))


def content_losses(
    encoder: SmallEncoder,
    heads: TrainingHeads,
    batch: Batch,
    weights: LossWeights,
    speaker_strength: float,
) -> Losses:
    """Losses of one batch; `speaker_strength` 0..1 is how hard the encoder works against the speaker heads."""
    logits = encoder.encode_mel(batch.mel)
    phones = _phone_loss(logits, batch.phone)
    sameness = _sameness_loss(logits, batch.match)
    is_speech = (batch.phone != INDEX_OF_PHONE[SILENCE]).float()
    speaker, speaker_accuracy = _speaker_loss(heads, told_features(logits), batch.person, is_speech, speaker_strength)
    total = weights.phones * phones + weights.sameness * sameness + weights.speaker * speaker
    known = (batch.phone != UNKNOWN_INDEX) & (batch.phone != INDEX_OF_PHONE[SILENCE])
    accuracy = (logits.argmax(2) == batch.phone)[known].float().mean()
    return Losses(total, phones, sameness, speaker, accuracy, speaker_accuracy)


def _phone_loss(logits: Tensor, phone: Tensor) -> Tensor:
    weight = torch.ones(logits.shape[2], device=logits.device)
    weight[INDEX_OF_PHONE[SILENCE]] = SILENCE_WEIGHT
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        phone.flatten(),
        weight,
        ignore_index=UNKNOWN_INDEX,
        label_smoothing=LABEL_SMOOTHING,
    )


def _sameness_loss(logits: Tensor, match: Tensor) -> Tensor:
    """Squared differences of the phones' probabilities, summed, where the second copy has the same moment."""
    first, second = logits.softmax(2).chunk(2)
    index = match.clamp(min=0).unsqueeze(2).expand(-1, -1, second.shape[2])
    difference = (first - second.gather(1, index)).square().sum(2)
    valid = match >= 0
    mean: Tensor = (difference * valid).sum() / valid.sum().clamp(min=1)
    return mean


def _speaker_loss(
    heads: TrainingHeads, features: Tensor, person: Tensor, is_speech: Tensor, strength: float
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the persons by frame and by the clip's mean; speech frames only."""
    turned: Tensor = _TurnGradient.apply(features, strength)  # type: ignore[no-untyped-call]
    person = torch.cat([person, person])
    share = is_speech / is_speech.sum(1, keepdim=True).clamp(min=1)
    by_mean = heads.mean_speaker((turned * share.unsqueeze(2)).sum(1)).float()
    by_frame = heads.frame_speaker(turned).float()
    frame_error = F.cross_entropy(by_frame.transpose(1, 2), person.unsqueeze(1).expand_as(is_speech), reduction="none")
    loss = F.cross_entropy(by_mean, person) + (frame_error * share).sum(1).mean()
    return loss, (by_mean.argmax(1) == person).float().mean()

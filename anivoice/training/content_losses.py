"""What the content encoder is taught, with the heads that only training needs.

- phones: which one each frame is;
- sound: the reference speaker's log-mel at the same place of the same sentence, from the exported features, so that
  these hold all that is needed to say it again, and nothing of who said it;
- sameness: two changed copies of one moment give the same features;
- anchor (where one is given): the reference speaker's own features stay where an earlier encoder had them, so that
  voices trained on that one can be used with this one;
- speaker: a classifier tries to tell the person by the features, and the encoder to prevent it (Ganin & Lempitsky,
  2015: the gradient is turned around).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.models.encoder_mel import NUM_MELS
from anivoice.models.small_encoder import Encoded, SmallEncoder, told_features
from anivoice.training.content_batches import Batch
from anivoice.training.manifest import UNKNOWN_INDEX
from anivoice.training.phones import INDEX_OF_PHONE, SILENCE

LABEL_SMOOTHING = 0.05
SILENCE_WEIGHT = 0.5
MEL_SPREAD = 3.0
"""About the standard deviation of log-mel: brings the sound loss near 1."""
BOTTLENECK_NOISE = 0.35


@dataclass(frozen=True)
class LossWeights:
    """What each part counts."""

    phones: float = 1.0
    sound: float = 0.6
    sameness: float = 0.3
    speaker: float = 0.3
    anchor: float = 1.0


class Losses(NamedTuple):
    """Scalars; `accuracy` and `speaker_accuracy` are shares, for the log."""

    total: Tensor
    phones: Tensor
    sound: Tensor
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
    """Sound and speaker heads beside an encoder."""

    def __init__(self, bottleneck: int, num_phones: int, num_persons: int) -> None:
        super().__init__()
        self.sound = nn.Sequential(
            nn.Linear(bottleneck + num_phones, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, NUM_MELS)
        )
        self.frame_speaker = _classifier(bottleneck + num_phones, num_persons)
        self.mean_speaker = _classifier(bottleneck + num_phones, num_persons)


def _classifier(width: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 160), nn.SiLU(), nn.Linear(160, num_classes))


def content_losses(
    encoder: SmallEncoder,
    heads: TrainingHeads,
    batch: Batch,
    weights: LossWeights,
    speaker_strength: float,
    generator: torch.Generator,
) -> Losses:
    """Losses of one batch; `speaker_strength` 0..1 is how hard the encoder works against the speaker heads.

    `generator`, on the device of the batch, makes the noise.
    """
    encoded = encoder.encode_mel(batch.mel)
    phones = _phone_loss(encoded.logits, batch.phone)
    sound = _sound_loss(heads, encoded, batch, generator)
    sameness = _sameness_loss(encoded, batch.match)
    is_speech = (batch.phone != INDEX_OF_PHONE[SILENCE]).float()
    speaker, speaker_accuracy = _speaker_loss(heads, told_features(encoded), batch.person, is_speech, speaker_strength)
    total = weights.phones * phones + weights.sound * sound + weights.sameness * sameness + weights.speaker * speaker
    known = (batch.phone != UNKNOWN_INDEX) & (batch.phone != INDEX_OF_PHONE[SILENCE])
    accuracy = (encoded.logits.argmax(2) == batch.phone)[known].float().mean()
    return Losses(total, phones, sound, sameness, speaker, accuracy, speaker_accuracy)


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


def _sound_loss(heads: TrainingHeads, encoded: Encoded, batch: Batch, generator: torch.Generator) -> Tensor:
    """Noise on the bottleneck, so that what must be told is told clearly and nothing else finely."""
    noise = torch.randn(encoded.bottleneck.shape, generator=generator, device=generator.device)
    noisy = encoded.bottleneck + BOTTLENECK_NOISE * noise
    foretold = heads.sound(torch.cat([noisy, encoded.logits.softmax(2)], dim=2)).float()
    error = (foretold - (batch.target + 6.0) / MEL_SPREAD).abs().mean(2)
    loss: Tensor = (error * batch.has_target).sum() / batch.has_target.sum().clamp(min=1)
    return loss


def _sameness_loss(encoded: Encoded, match: Tensor) -> Tensor:
    first, second = (Encoded(*halves) for halves in zip(*(part.chunk(2) for part in encoded), strict=True))
    index = match.clamp(min=0).unsqueeze(2)
    moved = Encoded(*(part.gather(1, index.expand(-1, -1, part.shape[2])) for part in second))
    valid = (match >= 0).float()
    return (_difference(first, moved) * valid).sum() / valid.sum().clamp(min=1)


def _difference(first: Encoded, second: Encoded) -> Tensor:
    """`[B, N]`: mean squared difference of the bottlenecks, and that of the phones' probabilities, summed."""
    phones = (first.logits.softmax(2) - second.logits.softmax(2)).square().sum(2)
    difference: Tensor = (first.bottleneck - second.bottleneck).square().mean(2) + phones
    return difference


def anchor_loss(encoder: SmallEncoder, anchor: SmallEncoder, reference_mel: Tensor) -> Tensor:
    """How far the features of the reference speaker's own speech `[B, M, 80]` have gone from the anchor's."""
    with torch.no_grad():
        fixed = anchor.encode_mel(reference_mel)
    return _difference(encoder.encode_mel(reference_mel), fixed).mean()


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

"""How good a content encoder is: phones on speakers it never heard, and whether its features tell the speaker."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anivoice.models.small_encoder import SmallEncoder, told_features
from anivoice.training.content_cache import PLAIN_LEVEL_DB, frame_times, read_audio
from anivoice.training.manifest import UNKNOWN_INDEX, Clip
from anivoice.training.phones import INDEX_OF_PHONE, PHONE_CLASSES, PHONES, SILENCE
from anivoice.training.wave_augment import set_level

PROBE_FRAMES = 1500
PROBE_STEPS = 300


@dataclass(frozen=True)
class HeardClip:
    """A clip with what the encoder made of it: `features` `[N, F]`, `guess` and `phone` `[N]`."""

    clip: Clip
    features: Tensor
    guess: NDArray[np.int64]
    phone: NDArray[np.int64]

    @property
    def is_speech(self) -> NDArray[np.bool_]:
        speech: NDArray[np.bool_] = (self.phone != INDEX_OF_PHONE[SILENCE]) & (self.phone != UNKNOWN_INDEX)
        return speech


def hear(encoder: SmallEncoder, clips: Sequence[Clip]) -> list[HeardClip]:
    """Each clip through the encoder as a file would go."""
    return [_hear(encoder, clip) for clip in clips]


def _hear(encoder: SmallEncoder, clip: Clip) -> HeardClip:
    samples = torch.from_numpy(set_level(read_audio(clip.path), PLAIN_LEVEL_DB)).float().unsqueeze(0)
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        logits = encoder.encode_mel(encoder.front_end(samples.to(device)))[0].float().cpu()
    phone = clip.phones_at(frame_times(2 * len(logits))[::2]).astype(np.int64)
    return HeardClip(clip, told_features(logits.unsqueeze(0))[0], logits.argmax(1).numpy(), phone)


def phone_accuracy(heard: Sequence[HeardClip]) -> dict[str, float]:
    """Share of speech frames whose phone is right, by person."""
    by_person: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    for one in heard:
        by_person[one.clip.person].append((one.guess == one.phone)[one.is_speech])
    return {person: float(np.concatenate(right).mean()) for person, right in sorted(by_person.items())}


def class_accuracy(heard: Sequence[HeardClip]) -> dict[str, float]:
    """Share of frames whose phone is right, by class of phones."""
    guess, phone = (np.concatenate([getattr(one, name) for one in heard]) for name in ("guess", "phone"))
    found = {}
    for name, phones in PHONE_CLASSES.items():
        inside = np.isin(phone, [INDEX_OF_PHONE[one] for one in phones])
        found[name] = float((guess == phone)[inside].mean()) if inside.any() else float("nan")
    return found


def confusions(heard: Sequence[HeardClip], num_worst: int = 12) -> dict[str, float]:
    """The most frequent mistakes, as `said>heard`: share of the frames of what was said."""
    guess, phone = (np.concatenate([getattr(one, name) for one in heard]) for name in ("guess", "phone"))
    pairs: dict[str, float] = {}
    for index, name in enumerate(PHONES):
        heard_as = np.bincount(guess[phone == index], minlength=len(PHONES)) / max((phone == index).sum(), 1)
        heard_as[index] = 0.0
        worst = int(heard_as.argmax())
        pairs[f"{name}>{PHONES[worst]}"] = float(heard_as[worst])
    return dict(sorted(pairs.items(), key=lambda pair: -pair[1])[:num_worst])


def speaker_probe(heard: Sequence[HeardClip], seed: int = 0) -> dict[str, float]:
    """How often a linear classifier tells the person by one frame of speech; half of each one's clips to learn from.

    `chance` is what guessing gives: every person has equally many frames.
    """
    people = sorted({one.clip.person for one in heard})
    generator = np.random.default_rng(seed)
    sets = [_probe_set(heard, people, half, generator) for half in (0, 1)]
    return {"frame": _linear_accuracy(*sets[0], *sets[1], len(people)), "chance": 1 / len(people)}


def _probe_set(
    heard: Sequence[HeardClip], people: Sequence[str], half: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    features, labels = [], []
    for label, person in enumerate(people):
        own = [one for one in heard if one.clip.person == person][half::2]
        frames = torch.cat([one.features[torch.from_numpy(one.is_speech)] for one in own])
        chosen = generator.choice(len(frames), PROBE_FRAMES, replace=len(frames) < PROBE_FRAMES)
        features.append(frames[torch.from_numpy(chosen)])
        labels.append(torch.full((PROBE_FRAMES,), label))
    return torch.cat(features), torch.cat(labels)


def _linear_accuracy(x: Tensor, y: Tensor, other_x: Tensor, other_y: Tensor, num_classes: int) -> float:
    """Multinomial logistic regression on standardised features."""
    mean, spread = x.mean(0), x.std(0).clamp(min=1e-4)
    x, other_x = (x - mean) / spread, (other_x - mean) / spread
    probe = nn.Linear(x.shape[1], num_classes)
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.02, weight_decay=1e-4)
    for _ in range(PROBE_STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(probe(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float((probe(other_x).argmax(1) == other_y).float().mean())


def report(
    encoder: SmallEncoder, tests: Mapping[str, Sequence[Clip]], probe_clips: Sequence[Clip]
) -> dict[str, object]:
    """Everything above: `tests` are sets of clips by name."""
    found: dict[str, object] = {}
    for name, clips in tests.items():
        heard = hear(encoder, clips)
        found[name] = {"accuracy": phone_accuracy(heard), "classes": class_accuracy(heard), "worst": confusions(heard)}
    if probe_clips:
        found["speaker_probe"] = speaker_probe(hear(encoder, probe_clips))
    return found

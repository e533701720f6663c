"""`anivoice train content`: a content encoder from a corpus with phone times. Stopped and started again at will.

The folder of a run holds `cache/` (what is made of the corpus once), `state.pt` (everything needed to go on),
`encoder.safetensors` (the network as the server loads it, its weights averaged over the last steps) and `log.jsonl`.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from anivoice.checkpoints.small_encoder_file import save_small_encoder
from anivoice.errors import InvalidParameter
from anivoice.models.small_encoder import SmallEncoder, SmallEncoderConfig
from anivoice.training.content_batches import Batch, Clips
from anivoice.training.content_cache import load_shard, make_cache
from anivoice.training.content_growth import load_base
from anivoice.training.content_losses import LossWeights, TrainingHeads, content_losses
from anivoice.training.content_report import report
from anivoice.training.manifest import Clip, read_manifest
from anivoice.voices.assets import EMBEDDED_ENCODER_PREFIX
from anivoice.voices.encoder_pairing import is_embedded_id

TRAINED_SPLITS = ("train", "target_train")
SPEAKER_RAMP_STEPS = 1500
WARM_UP_STEPS = 300
FINAL_RATE = 0.03
AVERAGE_DECAY = 0.998
MAX_GRADIENT_NORM = 2.0
NUM_TEST_CLIPS = 30
"""Of each held-out person, in the reports while training."""

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class ContentTraining:
    """What a run is told. `num_steps` also sets how the learning rate falls.

    `base` is an encoder to begin with, of the same or smaller sizes.
    `precision` bf16 is faster wherever the processor has it, `compiles` (torch.compile) where there is a C++ compiler.
    Without `prepares` the run trains on what its cache holds already; `num_processes` make the cache.
    """

    corpus: Path
    out: Path
    encoder_id: str = "anivoice-content-2"
    num_steps: int = 8000
    batch_clips: int = 8
    window_frames: int = 250
    learning_rate: float = 1.5e-3
    report_every: int = 500
    save_every: int = 100
    seed: int = 1
    base: Path | None = None
    prepares: bool = True
    num_processes: int = 1
    precision: Precision = "fp32"
    compiles: bool = False
    weights: LossWeights = field(default_factory=LossWeights)
    network: SmallEncoderConfig = field(default_factory=SmallEncoderConfig)


class Run:
    """The state of a training: networks, optimiser, averaged weights, step."""

    def __init__(self, settings: ContentTraining, clips: Clips, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.clips, self.device = settings, clips, device
        self.encoder = SmallEncoder(settings.network).to(device)
        if settings.compiles:
            for layer in self.encoder.layers:
                layer.compile(dynamic=False)
        num_persons = len(clips.person_index)
        self.heads = TrainingHeads(settings.network.num_phones, num_persons).to(device)
        self.average = SmallEncoder(settings.network).to(device).requires_grad_(False)
        self.average.load_state_dict(self.encoder.state_dict())
        parameters = [*self.encoder.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.step = 0

    def train_step(self) -> dict[str, float]:
        """One step; returns the losses."""
        generator = np.random.default_rng([self.settings.seed, self.step])
        batch = self.clips.draw(self.settings.batch_clips, self.settings.window_frames, generator)
        batch = Batch(*(tensor.to(self.device) for tensor in batch))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rate_factor(self.step, self.settings.num_steps)
        strength = min(self.step / SPEAKER_RAMP_STEPS, 1.0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            losses = content_losses(self.encoder, self.heads, batch, self.settings.weights, strength)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.encoder.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self._average()
        self.step += 1
        return {name: float(value.detach()) for name, value in losses._asdict().items()}

    def _average(self) -> None:
        """Moves the averaged weights towards the encoder's: over the last tenth of the steps, at most over 500."""
        share = max(1 - AVERAGE_DECAY, 10 / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.encoder.parameters(), strict=True):
                mean.lerp_(now, share)

    def averaged_encoder(self) -> SmallEncoder:
        """The encoder with averaged weights, on the CPU, for reports and for use."""
        encoder = SmallEncoder(self.settings.network)
        encoder.load_state_dict(self.average.state_dict())
        return encoder.eval().requires_grad_(False)

    def save(self) -> None:
        """`state.pt` and `encoder.safetensors`, each replaced as a whole."""
        state = {
            "encoder": self.encoder.state_dict(),
            "heads": self.heads.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "persons": list(self.clips.person_index),
        }
        unfinished = self.settings.out / "state.unfinished"
        torch.save(state, unfinished)
        unfinished.replace(self.settings.out / "state.pt")
        save_small_encoder(
            self.settings.out / "encoder.safetensors", self.averaged_encoder(), self.settings.encoder_id, self.step
        )

    def begin_with(self, encoder: SmallEncoder) -> None:
        for mine in (self.encoder, self.average):
            mine.load_state_dict(encoder.state_dict())

    def load(self) -> None:
        """Goes on from `state.pt`. Speaker heads begin anew where the corpus has other persons than before."""
        state = torch.load(self.settings.out / "state.pt", map_location=self.device, weights_only=True)
        self.encoder.load_state_dict(state["encoder"])
        self.average.load_state_dict(state["average"])
        self.step = int(state["step"])
        if state["persons"] == list(self.clips.person_index):
            self.heads.load_state_dict(state["heads"])
            self.optimizer.load_state_dict(state["optimizer"])


def rate_factor(step: int, num_steps: int) -> float:
    """Rises in the first steps, then falls as a cosine to FINAL_RATE."""
    warm = min((step + 1) / WARM_UP_STEPS, 1.0)
    progress = min(step / max(num_steps, 1), 1.0)
    return warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def train_content(settings: ContentTraining, device: torch.device, say: Callable[[str], None]) -> Path:
    """Trains to `settings.num_steps` and returns the path of the encoder. Raises InvalidParameter for a poor corpus."""
    if not is_embedded_id(settings.encoder_id):
        raise InvalidParameter(f"id: {settings.encoder_id!r} must begin with {EMBEDDED_ENCODER_PREFIX}")
    settings.out.mkdir(parents=True, exist_ok=True)
    clips = read_manifest(settings.corpus)
    check_corpus(clips)
    run = Run(settings, _prepare(settings, clips), device)
    if (settings.out / "state.pt").is_file():
        run.load()
        say(f"going on from step {run.step}")
    elif settings.base is not None:
        run.begin_with(load_base(settings.base, settings.network))
        say(f"beginning with {settings.base.name}")
    else:
        for encoder in (run.encoder, run.average):
            encoder.running_mean.prior.copy_(_mean_speech(run.clips))
    tests = test_sets(clips)
    while run.step < settings.num_steps:
        if not settings.prepares:
            run.clips = _prepare(settings, clips)
        _train_and_tell(run, tests, say)
    return settings.out / "encoder.safetensors"


def check_corpus(clips: Sequence[Clip]) -> None:
    """Raises InvalidParameter if nothing can be learnt from it."""
    persons = {clip.person for clip in clips if clip.split in TRAINED_SPLITS}
    if len(persons) < 2:
        raise InvalidParameter(
            f"corpus: {len(persons)} speakers in the splits {' and '.join(TRAINED_SPLITS)}; at least 2 are needed, "
            "because the encoder learns what they have in common"
        )


def _prepare(settings: ContentTraining, clips: Sequence[Clip]) -> Clips:
    """What is trained on, made if it is not there yet."""
    cache = settings.out / "cache"
    cache.mkdir(exist_ok=True)
    trained = [clip for clip in clips if clip.split in TRAINED_SPLITS]
    missing = trained if settings.prepares else []
    shards = [load_shard(path) for path in make_cache(missing, cache, settings.seed, settings.num_processes)]
    persons = sorted({clip.person for clip in trained})
    return Clips(shards, persons)


def _mean_speech(clips: Clips) -> torch.Tensor:
    """Mean log-mel of speech frames of the plain copies, `[80]`."""
    frames = [
        shard.mel[copy.first : copy.first + copy.num_frames][shard.phone[copy.first : copy.first + copy.num_frames] > 0]
        for shard, copy in (copies[0] for copies in clips.clips[:400])
    ]
    return torch.from_numpy(np.concatenate(frames).astype(np.float32).mean(0))


def test_sets(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Some clips of each held-out person, by split."""
    chosen: dict[str, list[Clip]] = {}
    for split in ("heldout", "target_heldout", "real", "people"):
        of_split = [clip for clip in clips if clip.split == split]
        people = sorted({clip.person for clip in of_split})
        some = [[clip for clip in of_split if clip.person == person][:NUM_TEST_CLIPS] for person in people]
        if some:
            chosen[split] = list(chain.from_iterable(some))
    return chosen


def _train_and_tell(run: Run, tests: dict[str, list[Clip]], say: Callable[[str], None]) -> None:
    """Steps until the next save, then the log."""
    settings = run.settings
    begin_s, sums, count = time.monotonic(), dict[str, float](), 0
    while count == 0 or (run.step % settings.save_every != 0 and run.step < settings.num_steps):
        for name, value in run.train_step().items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
    run.save()
    means = {name: round(value / count, 4) for name, value in sums.items()}
    line: dict[str, object] = {"step": run.step, "seconds_per_step": round((time.monotonic() - begin_s) / count, 3)}
    line |= means
    say(f"step {run.step}/{settings.num_steps}  " + "  ".join(f"{name} {value:.3f}" for name, value in means.items()))
    if run.step % settings.report_every == 0 or run.step >= settings.num_steps:
        line["report"] = report(run.averaged_encoder(), tests, [])
        say(json.dumps(line["report"]))
    with (settings.out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def describe(settings: ContentTraining) -> str:
    """For the log: the settings as JSON."""
    return json.dumps(asdict(settings), default=os.fspath)

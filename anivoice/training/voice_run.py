"""One training of a voice from beginning to end: base, steps, checkpoints, previews, and the files that come out."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from anivoice.checkpoints.safe_pickle import float_state, load_torch_file
from anivoice.checkpoints.voice_config_values import values_from_config
from anivoice.checkpoints.voice_file import load_voice_file
from anivoice.errors import InvalidModelFile, InvalidParameter
from anivoice.models.vits import Synthesizer
from anivoice.models.voice_config import VoiceConfig
from anivoice.models.weight_norm import fold_weight_norm
from anivoice.training.run_files import append_line, load_training_file, save_atomically
from anivoice.training.voice_data import SliceSet
from anivoice.training.voice_export import LATENT_KEY, chosen_vectors, export_voice, write_index
from anivoice.training.voice_network import Recipe, new_synthesizer
from anivoice.training.voice_preview import mel_picture, preview, write_png
from anivoice.training.voice_trainer import TrainingPlan, VoiceTrainer

CHECKPOINT_NAME = "last.pt"
LOG_NAME = "log.jsonl"
NUM_PREVIEWS = 3

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """What training begins with: a network, how its latent is made, and which features it was made for (if it says)."""

    model: Synthesizer
    recipe: Recipe
    embedder_model: str | None
    posterior: dict[str, Tensor] | None = None


def new_base(config: VoiceConfig, recipe: Recipe, seed: int) -> Base:
    """From nothing."""
    torch.manual_seed(seed)
    return Base(new_synthesizer(config, recipe), recipe, None)


def load_base(path: Path) -> Base:
    """A voice, a community's base generator (`{"model": ...}` with enc_q), or a checkpoint of another run of ours.

    Raises InvalidModelFile.
    """
    if path.name == CHECKPOINT_NAME or path.is_dir():
        raise InvalidParameter(f"--base {path}: give a voice (NAME.pth), as a run writes it, or a base generator")
    voice = load_voice_file(path)
    recipe: Recipe = "mel" if voice.info.get(LATENT_KEY) == "mel" else "vits"
    model = Synthesizer(voice.config)
    model.load_state_dict(voice.state)
    return Base(model, recipe, voice.embedder_model, _posterior_state(path))


def _posterior_state(path: Path) -> dict[str, Tensor] | None:
    """The posterior encoder of a base generator, None if the file holds none."""
    content = load_torch_file(path).get("model") if path.suffix == ".pth" else None
    if not isinstance(content, dict):
        return None
    named = {name.removeprefix("enc_q."): t for name, t in content.items() if str(name).startswith("enc_q.")}
    return fold_weight_norm(float_state(named, path), path.name) if named else None


@dataclass(frozen=True)
class RunFiles:
    """Where a run reads and writes: `work` holds slices, checkpoint, log and previews; the voice goes to `voice`."""

    work: Path
    voice: Path

    @property
    def cache(self) -> Path:
        return self.work / "slices"

    @property
    def checkpoint(self) -> Path:
        return self.work / CHECKPOINT_NAME


class VoiceRun:
    """Steps, with all that belongs to them on disk."""

    def __init__(
        self, files: RunFiles, base: Base, plan: TrainingPlan, embedder_model: str, device: torch.device
    ) -> None:
        if base.recipe != plan.recipe:
            plan = replace(plan, recipe=base.recipe)
        self.files = files
        self.plan = plan
        self.embedder_model = embedder_model
        self.data = SliceSet(files.cache)
        self.held_out = SliceSet(files.cache, "held_out")
        if not self.data.has_content and not plan.decoder_only:
            raise InvalidParameter(f"{files.cache} was prepared without a content encoder; give another --work folder")
        self.trainer = VoiceTrainer(base.model, plan, device)
        if base.posterior is not None:
            self.trainer.posterior.load_state_dict(base.posterior)

    @property
    def model(self) -> Synthesizer:
        return self.trainer.model

    def take_judges(self, checkpoint: Path) -> None:
        """The discriminators of another run. Raises InvalidModelFile if they are of another width."""
        state = load_training_file(checkpoint, self.trainer.device).get("discriminators")
        try:
            self.trainer.discriminators.load_state_dict(state if isinstance(state, dict) else {})
        except RuntimeError as error:
            raise InvalidModelFile(f"{checkpoint} holds no discriminators of this width") from error

    def resume(self) -> bool:
        """Goes on from the last checkpoint, if there is one. Raises InvalidParameter if it is of another plan."""
        path = self.files.checkpoint
        if not path.is_file():
            return False
        state = load_training_file(path, self.trainer.device)
        mine = self._identity()
        if state.get("plan") != mine["plan"] or state.get("config") != mine["config"]:
            raise InvalidParameter(
                f"{path} belongs to a training with other settings; give those again, or another --work folder"
            )
        try:
            self.trainer.load_state(state)
        except (KeyError, RuntimeError) as error:
            raise InvalidModelFile(f"{path} does not hold what a training needs: {error}") from error
        return True

    def save(self) -> None:
        """The checkpoint, replaced at once."""
        save_atomically(self.files.checkpoint, {**self._identity(), **self.trainer.state()})

    def train(self, tell: Tell, max_minutes: float | None, report_every: int, save_every: int) -> None:
        """Until the plan's last step or `max_minutes`; an interrupt saves, too."""
        started_s, sums, count = time.monotonic(), dict[str, float](), 0
        try:
            while self.trainer.step < self.plan.num_steps:
                for name, loss in self.trainer.train_step(self.data).items():
                    sums[name] = sums.get(name, 0.0) + loss
                count += 1
                minutes = (time.monotonic() - started_s) / 60
                if self.trainer.step % report_every == 0:
                    self._report(tell, {name: total / count for name, total in sums.items()}, minutes)
                    sums, count = {}, 0
                if self.trainer.step % save_every == 0:
                    self.save()
                if max_minutes is not None and minutes >= max_minutes:
                    tell(f"stopped after {minutes:.0f} minutes; the same command goes on")
                    break
        finally:
            self.save()

    def previews(self) -> list[Path]:
        """Writes waveforms and spectra of held-out slices (of trained ones where none is held out)."""
        source = self.held_out if self.held_out.slices else self.data
        if not source.has_content or self.plan.decoder_only:
            return []
        folder = self.files.work / f"preview-{self.trainer.step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        rate_hz = self.model.config.sample_rate_hz
        with self._averaged() as model:
            for number, piece in enumerate(source.slices[:NUM_PREVIEWS]):
                made, real = preview(model, piece, source.content(piece))
                soundfile.write(folder / f"{number}-made.wav", made, rate_hz)
                soundfile.write(folder / f"{number}-real.wav", real, rate_hz)
                write_png(folder / f"{number}.png", mel_picture([made, real], rate_hz))
        return sorted(folder.iterdir())

    def export(self, max_index_vectors: int) -> list[Path]:
        """Writes the voice and, where there are features, its index."""
        info: dict[str, str | int] = {
            "epoch": 0,
            "step": self.trainer.step,
            "model_name": self.files.voice.stem,
            "creation_date": datetime.now(UTC).isoformat(timespec="seconds"),
            "dataset_length": f"{self.data.total_seconds:.0f} s",
        }
        self.files.voice.parent.mkdir(parents=True, exist_ok=True)
        config = self.model.config
        export_voice(self.files.voice, config, self.trainer.average, self.plan.recipe, self.embedder_model, info)
        written = [self.files.voice]
        if self.data.has_content:
            index = self.files.voice.with_suffix(".index")
            features = np.concatenate([self.data.content(piece).numpy() for piece in self.data.slices])
            write_index(index, chosen_vectors(features, max_index_vectors, self.plan.seed), self.plan.seed)
            written.append(index)
        return written

    def _averaged(self) -> "_Averaged":
        return _Averaged(self.model, self.trainer.average)

    def _report(self, tell: Tell, losses: dict[str, float], minutes: float) -> None:
        step = self.trainer.step
        append_line(
            self.files.work / LOG_NAME,
            {"step": step, "minutes": round(minutes, 2), **{n: round(v, 4) for n, v in losses.items()}},
        )
        tell(f"step {step}: " + ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()))

    def _identity(self) -> dict[str, object]:
        return {"plan": asdict(self.plan), "config": values_from_config(self.model.config)}


class _Averaged:
    """`with`: the network with the averaged weights; afterwards its own again."""

    def __init__(self, model: Synthesizer, average: dict[str, Tensor]) -> None:
        self._model, self._average = model, average

    def __enter__(self) -> Synthesizer:
        self._own = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        self._model.load_state_dict(self._average)
        return self._model

    def __exit__(self, *_: object) -> None:
        self._model.load_state_dict(self._own)

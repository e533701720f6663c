"""`anivoice train voice FOLDER NAME`: from recordings to a voice and its index."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from anivoice.engine.devices import choose_device
from anivoice.errors import InvalidParameter, MissingAsset
from anivoice.models.voice_config import VoiceConfig
from anivoice.process import prepare_compute_thread
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.methods import format_pitch_algo, parse_pitch_algo
from anivoice.training.parallel import parallel_views
from anivoice.training.timed_parallel import timed_views
from anivoice.training.voice_network import FULL_LAYOUTS, SMALL_32K, full_config
from anivoice.training.voice_prepare import Preparation, prepare_folder
from anivoice.training.voice_run import Base, RunFiles, VoiceRun, load_base, new_base
from anivoice.training.voice_trainer import TrainingPlan
from anivoice.voices.assets import EMBEDDED_VOICE, find_content_encoder
from anivoice.voices.encoder_pairing import find_encoder, missing_encoder_message
from anivoice.voices.library import VoiceLibrary

REPORT_EVERY, SAVE_EVERY = 25, 100


@dataclass(frozen=True)
class VoiceOrder:
    """What the command line asks for.

    `base` None: the embedded voice if it is there and no `size` is given. `size`: from scratch, "small" or a full rate
    in Hz. `latent_steps` None: as many as suit the base.
    """

    folder: Path
    name: str
    weights_dir: Path
    work: Path | None
    base: str | None
    size: str | None
    judges: Path | None
    encoder: str | None
    pitch_algo: str | None
    parallel: tuple[Path, ...]
    parallel_corpus: Path | None
    max_parallel: int
    warps: tuple[float, ...]
    device: str | None
    precision: Literal["auto", "fp32", "bf16"]
    threads: int
    max_minutes: float | None
    max_index_vectors: int
    latent_steps: int | None
    plan: TrainingPlan


def train_voice(order: VoiceOrder) -> int:
    """Checks and prepares the recordings, trains, writes NAME.pth and NAME.index. Returns the exit code 0.

    Raises InvalidParameter, UndecodableAudio for recordings that will not do, MissingAsset without an encoder.
    """
    prepare_compute_thread(order.threads)
    device = choose_device(None, order.device)
    work = order.work or Path(f"{order.name}-training")
    files = RunFiles(work, order.weights_dir / f"{order.name}.pth")
    base = _base(order)
    encoder, embedder_model = (None, "") if order.plan.decoder_only else _encoder(order, base, device)
    preparation = _preparation(order, base, encoder, device)
    for warning in prepare_folder(order.folder, files.cache, preparation, _say):
        _say(f"warning: {warning}")
    latent_steps = _latent_steps(order, base)
    plan = replace(order.plan, precision=_precision(order.precision, device), latent_steps=latent_steps)
    run = VoiceRun(files, base, plan, embedder_model, device)
    _say(f"{run.data.total_seconds / 60:.1f} minutes in {len(run.data.slices)} slices, recipe {base.recipe}")
    if order.judges is not None:
        run.take_judges(order.judges)
    if run.resume():
        _say(f"goes on from step {run.trainer.step}")
    try:
        run.train(_say, order.max_minutes, REPORT_EVERY, SAVE_EVERY)
    except KeyboardInterrupt:
        _say(f"interrupted at step {run.trainer.step}; the same command goes on")
    for path in [*run.previews(), *run.export(order.max_index_vectors)]:
        _say(str(path))
    return 0


def _base(order: VoiceOrder) -> Base:
    if order.base is None and order.size is None and EMBEDDED_VOICE in VoiceLibrary(order.weights_dir).names():
        return load_base(VoiceLibrary(order.weights_dir).find(EMBEDDED_VOICE).path)
    if order.base is None:
        if order.size in (None, "small"):
            return new_base(SMALL_32K, "mel", order.plan.seed)
        if order.size is None or not order.size.isdecimal() or int(order.size) not in FULL_LAYOUTS:
            known = ", ".join(str(rate) for rate in FULL_LAYOUTS)
            raise InvalidParameter(f"--size {order.size!r} is none of small, {known}")
        return new_base(full_config(int(order.size)), "vits", order.plan.seed)
    path = Path(order.base)
    return load_base(path if path.is_file() else VoiceLibrary(order.weights_dir).find(order.base).path)


def _latent_steps(order: VoiceOrder, base: Base) -> int:
    """Of a small voice it is the text encoder that has most to learn; alone it takes a fraction of a step's time."""
    if order.latent_steps is not None:
        return order.latent_steps
    is_warm = order.size is None and base.recipe == "mel" and not order.plan.decoder_only
    return order.plan.num_steps // 3 if is_warm else 0


def _encoder(order: VoiceOrder, base: Base, device: torch.device) -> tuple[ContentEncoder, str]:
    """The content encoder, and the name by which the voice will ask for it."""
    path = Path(order.encoder) if order.encoder is not None else find_encoder(order.weights_dir, base.embedder_model)
    if path is None or not path.exists():
        if order.encoder is not None:
            raise InvalidParameter(f"--encoder: there is no file or folder {order.encoder}")
        raise MissingAsset(missing_encoder_message(order.name, base.embedder_model, order.weights_dir))
    encoder = ContentEncoder.load(path, device, torch.float32)
    name = encoder.model.encoder_id or _embedder_name(path, order.weights_dir)
    if base.embedder_model is not None and base.embedder_model != name:
        raise InvalidParameter(
            f"--base: that voice was made for the content encoder {base.embedder_model!r}, not for {name!r}"
        )
    return encoder, name


def _embedder_name(path: Path, weights_dir: Path) -> str:
    return "contentvec" if path == find_content_encoder(weights_dir) else path.stem


def _preparation(order: VoiceOrder, base: Base, encoder: ContentEncoder | None, device: torch.device) -> Preparation:
    config: VoiceConfig = base.model.config
    pitch = PitchExtractor(order.weights_dir, device, torch.float32)
    algo = format_pitch_algo(parse_pitch_algo(order.pitch_algo or pitch.default_method()))
    pitch.require(algo)
    parallel = None
    if order.parallel and encoder is not None:
        parallel = parallel_views(order.parallel, encoder, config.version, order.max_parallel)
    elif order.parallel_corpus is not None and encoder is not None:
        parallel = timed_views(order.parallel_corpus, encoder, config.version, order.max_parallel)
    return Preparation(config, encoder, pitch, algo, order.warps, parallel)


def _precision(wanted: str, device: torch.device) -> Literal["fp32", "bf16"]:
    if wanted == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    return "bf16" if wanted == "bf16" else "fp32"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

"""The command line of `anivoice train voice`."""

import argparse
from pathlib import Path

from anivoice.commands.options import Commands, settings_of


def add_train_voice(kinds: Commands) -> None:
    """`anivoice train voice`."""
    parser = kinds.add_parser(
        "voice",
        help="a voice from a folder of recordings of one speaker",
        description="Make weights/NAME.pth and weights/NAME.index from the recordings in FOLDER. With --base training "
        "goes on from a voice (minutes on a CPU from the embedded one) or from a base generator. A run that was "
        "stopped goes on when the command is given again.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="recordings of one speaker: wav, flac, ogg, mp3")
    parser.add_argument("name", metavar="NAME", help="the voice's name")
    parser.add_argument(
        "--base",
        help="voice or base generator to begin with: a name in weights, or a file (default: "
        "the embedded voice, where it is installed and no --size is given)",
    )
    parser.add_argument("--size", help="begin from nothing: small (32 kHz), 32000, 40000 or 48000")
    parser.add_argument("--judges", type=Path, metavar="CHECKPOINT", help="discriminators of another run (its last.pt)")
    parser.add_argument("--encoder", help="content encoder's file or folder (default: what the base was made for)")
    parser.add_argument("--pitch-extraction-algo", help="pitch method (rmvpe, else fcpe)")
    parser.add_argument("--parallel", type=Path, nargs="+", default=[], metavar="FOLDER", help=PARALLEL_HELP)
    parser.add_argument("--parallel-corpus", type=Path, metavar="CORPUS", help=CORPUS_HELP)
    parser.add_argument("--max-parallel", type=int, default=4, help="other speakers of each recording at most (4)")
    parser.add_argument("--warps", type=float, nargs="*", default=WARPS, metavar="SPEED", help=WARPS_HELP)
    parser.add_argument("--decoder-only", action="store_true", help="train the decoder on the recordings' own spectra")
    parser.add_argument("--work", type=Path, help="folder of slices, checkpoint, log, previews (NAME-training)")
    parser.add_argument("--weights-dir", help="folder of voices and shared networks (weights)")
    _add_plan(parser)
    parser.add_argument("--minutes", type=float, help="stop after this time at the latest; the voice is written, too")
    parser.add_argument("--index-vectors", type=int, default=10000, help="vectors of the index at most (10000)")
    parser.add_argument("--device", help="auto, cpu or cuda (auto)")
    parser.add_argument(
        "--precision",
        dest="training_precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 on CUDA, fp32 elsewhere",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.set_defaults(run=_train_voice)


LATENT_HELP = "first steps that train the text encoder alone (a third where the base is a small voice, else 0)"
WARPS = (0.85, 0.92, 1.1, 1.2)
WARPS_HELP = "speeds of copies whose features teach the voice not to listen to timbre (0.85 0.92 1.1 1.2)"
CORPUS_HELP = "in place of --parallel: a corpus with phone times, where others say the recordings' sentences"
PARALLEL_HELP = "folders in which other speakers say the same under the same file names: keeps words better"


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=2000, help="how long; the learning rate falls with it (2000)")
    parser.add_argument("--latent-steps", type=int, help=LATENT_HELP)
    parser.add_argument("--gan-from", type=int, help="step at which the discriminators join (half of --steps)")
    parser.add_argument("--batch-size", type=int, default=4, help="pieces in a step (4)")
    parser.add_argument("--piece-frames", type=int, default=160, help="length of a piece in frames of 10 ms (160)")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="largest learning rate (5e-4)")
    parser.add_argument("--discriminator-width", type=int, default=16, help="32 suits a full-size voice (16)")
    parser.add_argument("--judges-per-step", type=int, default=1, help="discriminators asked in a step, of 8 (1)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (0)")


def _train_voice(arguments: argparse.Namespace) -> int:
    from anivoice.commands.train_voice import VoiceOrder, train_voice
    from anivoice.training.voice_trainer import TrainingPlan

    plan = TrainingPlan(
        num_steps=arguments.steps,
        gan_from=arguments.steps // 2 if arguments.gan_from is None else arguments.gan_from,
        batch_size=arguments.batch_size,
        piece_frames=arguments.piece_frames // 2 * 2,
        learning_rate=arguments.learning_rate,
        discriminator_width=arguments.discriminator_width,
        judges_per_step=arguments.judges_per_step,
        decoder_only=arguments.decoder_only,
        seed=arguments.seed,
    )
    order = VoiceOrder(
        folder=arguments.folder,
        name=arguments.name,
        weights_dir=settings_of(arguments).weights_dir,
        work=arguments.work,
        base=arguments.base,
        size=arguments.size,
        judges=arguments.judges,
        encoder=arguments.encoder,
        pitch_algo=arguments.pitch_extraction_algo,
        parallel=tuple(arguments.parallel),
        parallel_corpus=arguments.parallel_corpus,
        max_parallel=arguments.max_parallel,
        warps=tuple(arguments.warps),
        device=arguments.device,
        precision=arguments.training_precision,
        threads=arguments.threads,
        max_minutes=arguments.minutes,
        max_index_vectors=arguments.index_vectors,
        latent_steps=arguments.latent_steps,
        plan=plan,
    )
    return train_voice(order)

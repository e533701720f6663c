"""`anivoice train ...`: the networks that can be made at home."""

import argparse
from pathlib import Path

from anivoice.commands.options import Commands
from anivoice.commands.train_voice_options import add_train_voice


def add_train(parser: argparse.ArgumentParser) -> None:
    """The command and what it trains."""
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    _add_content(kinds)
    add_train_voice(kinds)


def _add_content(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "content",
        help="a content encoder from a corpus with phone times",
        description="Train a small content encoder. CORPUS holds manifest.jsonl as training/corpus makes it. A run "
        "that was stopped goes on when the command is given again.",
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder with manifest.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the run: cache, state, encoder, log")
    parser.add_argument("--id", default="anivoice-content-2", help="name by which voices call it (anivoice-content-2)")
    parser.add_argument("--steps", type=int, default=8000, help="how long; the learning rate falls with it (8000)")
    parser.add_argument("--base", type=Path, help="an encoder to begin with, of these sizes or smaller")
    parser.add_argument("--batch-clips", type=int, default=8, help="clips in a step, each heard twice (8)")
    parser.add_argument("--window-frames", type=int, default=250, help="what is heard of a clip, in 10 ms, even (250)")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="largest learning rate (1.5e-3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 is faster on CUDA (fp32)")
    parser.add_argument(
        "--compile", action="store_true", help="a third faster after half a minute; needs a C++ compiler"
    )
    parser.add_argument("--processes", type=int, default=1, help="that prepare the corpus (1)")
    parser.add_argument("--prepared", action="store_true", help="train on what is in OUT/cache, prepare nothing more")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.set_defaults(run=_content)


def _content(arguments: argparse.Namespace) -> int:
    from anivoice.commands.train_content import run_train_content
    from anivoice.training.content_training import ContentTraining

    settings = ContentTraining(
        arguments.corpus,
        arguments.out,
        arguments.id,
        arguments.steps,
        arguments.batch_clips,
        arguments.window_frames,
        arguments.learning_rate,
        base=arguments.base,
        prepares=not arguments.prepared,
        num_processes=arguments.processes,
        precision=arguments.precision,
        compiles=arguments.compile,
    )
    return run_train_content(settings, arguments.device, arguments.threads)

"""The command line of the judge of voices."""

import argparse
from pathlib import Path

from anivoice.commands.options import (
    Commands,
    add_conversion_options,
    add_device_options,
    given_parameters,
    settings_of,
)


def add_bench_voice(benchmarks: Commands) -> None:
    """`anivoice bench voice`."""
    parser = benchmarks.add_parser(
        "voice",
        help="how good a voice is: words kept, likeness, pitch, spectrum",
        description="Converts files with a voice and judges the results: word errors, speaker cosine "
        "(Resemblyzer's weights), pitch, spectrum, speed. Needs `pip install anivoice[judge]`. A set is NAME=FOLDER "
        "with a .txt beside each audio file or a Sphinx *transcription, or NAME=MANIFEST.jsonl?key=value&...",
    )
    parser.add_argument("--target", required=True, metavar="SET", help="held-out speech of the voice's own speaker")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=SET", help="speech to convert, repeatable")
    parser.add_argument("--max-utterances", type=int, default=40, help="of each set at most (40)")
    parser.add_argument("--streamed", action="store_true", help="through the live path instead of the file path")
    parser.add_argument("--floor", action="store_true", help="convert nothing: what the judges say of the sources")
    parser.add_argument("--judge", choices=("pocketsphinx", "whisper"), default="pocketsphinx", help=JUDGE_HELP)
    parser.add_argument("--judge-pitch", default="fcpe", help="pitch method of the judge (fcpe)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the converted files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, - for standard output")
    add_device_options(parser)
    add_conversion_options(parser)
    parser.set_defaults(run=_bench_voice)


JUDGE_HELP = "who writes down the words; whisper understands people far better (pocketsphinx)"


def _bench_voice(arguments: argparse.Namespace) -> int:
    from anivoice.bench.voice import JudgeOptions, run_bench_voice
    from anivoice.config import load_default_parameters

    options = JudgeOptions(
        arguments.target,
        tuple(arguments.set),
        arguments.max_utterances,
        arguments.streamed,
        arguments.floor,
        None if arguments.pitch_change is None else float(arguments.pitch_change),
        arguments.judge_pitch,
        arguments.judge,
        arguments.keep,
    )
    parameters = given_parameters(arguments, load_default_parameters())
    return run_bench_voice(settings_of(arguments), parameters, options, arguments.json)

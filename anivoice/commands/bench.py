"""The command line of the benchmarks."""

import argparse
from pathlib import Path

from anivoice.commands.bench_voice import add_bench_voice
from anivoice.commands.options import (
    WINDOW_OPTIONS,
    Commands,
    add_device_options,
    add_live_engine_options,
    add_load_options,
    add_window_options,
    given_options,
    settings_of,
)


def add_bench(parser: argparse.ArgumentParser) -> None:
    """`anivoice bench convert | block | live | overhead | seams | voice`."""
    benchmarks = parser.add_subparsers(metavar="BENCHMARK", required=True)
    convert = benchmarks.add_parser(
        "convert",
        help="file conversion through full-size networks with random weights",
        description="Times every stage of a file conversion, and the straightforward eager form beside it.",
    )
    convert.add_argument("--synthetic", default="v2-48k", help="v1-32k, v1-40k, v1-48k, v2-32k, v2-40k or v2-48k")
    convert.add_argument("--seconds", type=float, default=10.0, help="length of the audio (10)")
    convert.add_argument("--pitch-extraction-algo", default="rmvpe", help="pitch method (rmvpe, random weights)")
    convert.add_argument("--repeat", type=int, default=3, help="pairs of runs; medians are shown (3)")
    convert.add_argument("--no-baseline", action="store_true", help="do not time the straightforward form")
    convert.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, - for standard output")
    add_device_options(convert, weights=False)
    convert.set_defaults(run=_bench_convert)
    _add_bench_block(benchmarks)
    _add_bench_live(benchmarks)
    _add_bench_overhead(benchmarks)
    _add_bench_seams(benchmarks)
    add_bench_voice(benchmarks)


def _add_bench_block(benchmarks: Commands) -> None:
    parser = benchmarks.add_parser(
        "block",
        help="blocks of one live stream through full-size networks with random weights",
        description="Times every stage of a block, and in pairs its whole window computed by plain eager modules.",
    )
    parser.add_argument("--synthetic", default="v2-48k", help="v1-32k, v1-40k, v1-48k, v2-32k, v2-40k or v2-48k")
    parser.add_argument("--blocks", type=int, default=8, help="pairs that are measured; medians are shown (8)")
    parser.add_argument("--no-baseline", action="store_true", help="do not time the plain window")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, - for standard output")
    add_window_options(parser)
    add_device_options(parser, weights=False)
    parser.set_defaults(run=_bench_block)


def _add_bench_live(benchmarks: Commands) -> None:
    parser = benchmarks.add_parser(
        "live",
        help="many live streams through full-size networks with random weights",
        description="Starts the server and its clients, each session in real time over a socket of its own.",
    )
    parser.add_argument("--synthetic", default="v2-48k", help="v1-32k, v1-40k, v1-48k, v2-32k, v2-40k or v2-48k")
    parser.add_argument("--model-name", help="a voice in the weights folder, in place of random weights")
    parser.add_argument("--voices", type=int, default=1, help="voices of random weights that the sessions share (1)")
    parser.add_argument(
        "--beside-file", type=float, default=0.0, metavar="SECONDS", help="measure again while such files are converted"
    )
    parser.add_argument("--find-capacity", action="store_true", help="search the largest number of sessions that fits")
    parser.add_argument("--admit-all", action="store_true", help="let sessions in that would not fit, too")
    parser.add_argument(
        "--pitch-extraction-algo", help="pitch method (that of the server; with random weights rmvpe, random)"
    )
    add_load_options(parser, num_sessions=1)
    add_device_options(parser)
    add_live_engine_options(parser)
    parser.set_defaults(run=_bench_live)


def _add_bench_overhead(benchmarks: Commands) -> None:
    parser = benchmarks.add_parser(
        "overhead",
        help="what the server itself costs: many live streams and an engine that only copies",
        description="As `bench live`, with an engine that gives back what it gets.",
    )
    add_load_options(parser, num_sessions=200)
    parser.set_defaults(run=_bench_overhead)


def _add_bench_seams(benchmarks: Commands) -> None:
    parser = benchmarks.add_parser(
        "seams",
        help="what the blocks of a live stream do to the sound, beside the file path",
        description="Spectral change at the seams by that elsewhere, agreement of successive windows, and the distance "
        "of streamed from file output, with full-size networks of random weights or a voice of yours.",
    )
    parser.add_argument("--synthetic", default="v2-48k", help="v1-32k, v1-40k, v1-48k, v2-32k, v2-40k or v2-48k")
    parser.add_argument("--model-name", help="a voice in the weights folder, in place of random weights")
    parser.add_argument("--presets", nargs="+", default=["ultra", "low", "balanced", "quality"], metavar="PRESET")
    parser.add_argument("--sounds", nargs="+", default=["vowel", "glide", "speech"], metavar="SOUND")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each sound (3)")
    parser.add_argument("--pitch-extraction-algo", default="pm", help="pitch method (pm)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, - for standard output")
    add_device_options(parser)
    parser.set_defaults(run=_bench_seams)


def _bench_convert(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    from anivoice.bench.convert import run_bench_convert

    return run_bench_convert(
        settings,
        arguments.synthetic,
        arguments.seconds,
        arguments.pitch_extraction_algo,
        arguments.repeat,
        not arguments.no_baseline,
        arguments.json,
    )


def _bench_block(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    from anivoice.bench.block import run_bench_block
    from anivoice.live.parameters import StreamParameters

    parameters = StreamParameters().changed(given_options(arguments, WINDOW_OPTIONS))
    return run_bench_block(
        settings, arguments.synthetic, parameters, arguments.blocks, not arguments.no_baseline, arguments.json
    )


def _bench_live(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    from anivoice.bench.live import run_bench_live
    from anivoice.bench.load import load_options

    made = [f"voice-{number}" for number in range(arguments.voices)]
    voices = [arguments.model_name] if arguments.model_name else made
    algo = arguments.pitch_extraction_algo or (None if arguments.model_name else "rmvpe")
    given: dict[str, object] = {} if algo is None else {"pitch_extraction_algo": algo}
    options = load_options(arguments, voices, given)
    return run_bench_live(
        settings,
        "" if arguments.model_name else arguments.synthetic,
        options,
        arguments.find_capacity,
        arguments.admit_all,
        arguments.beside_file,
        arguments.json,
    )


def _bench_overhead(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    from anivoice.bench.load import load_options
    from anivoice.bench.overhead import VOICE_NAME, run_bench_overhead

    return run_bench_overhead(settings, load_options(arguments, [VOICE_NAME], {}), arguments.json)


def _bench_seams(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    from anivoice.bench.seams import run_bench_seams

    return run_bench_seams(
        settings,
        arguments.synthetic,
        arguments.model_name,
        arguments.presets,
        arguments.sounds,
        arguments.seconds,
        arguments.pitch_extraction_algo,
        arguments.json,
    )

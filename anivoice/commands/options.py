"""Options that several commands share. Their values are checked where the settings and parameters are made."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from anivoice.config import Settings
    from anivoice.parameters import ConversionParameters

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_device_options(parser: argparse.ArgumentParser, weights: bool = True) -> None:
    """Where the networks lie and run."""
    if weights:
        parser.add_argument("--weights-dir", help="folder of voices and shared networks (weights)")
    parser.add_argument("--device", help="auto, cpu, cuda or mps (auto)")
    parser.add_argument("--gpu-index", help="which GPU, when there are several")
    parser.add_argument("--precision", help="auto, fp16 or fp32 (auto: fp16 on CUDA)")
    parser.add_argument("--threads", help="CPU threads of the networks")


def add_live_engine_options(parser: argparse.ArgumentParser) -> None:
    """How live streams share the device."""
    parser.add_argument("--max-live-batch", help="streams computed together at most (32 on CUDA, else 1)")
    parser.add_argument("--cuda-graphs", help="record the networks' work on CUDA devices and replay it (true)")
    parser.add_argument("--keep-warm", help="off, light or full: what the device does in silences (light on CUDA)")


def add_conversion_options(parser: argparse.ArgumentParser) -> None:
    """The conversion parameters."""
    parser.add_argument("--model-name", help="voice (default: MODEL_NAME, else the only one)")
    parser.add_argument("--pitch-change", help="semitones, -36..36")
    parser.add_argument("--volume-envelope", help="0 follows the input's loudness, 1 keeps the voice's own")
    parser.add_argument("--index-rate", help="share of retrieved features, 0..1")
    parser.add_argument("--pitch-extraction-algo", help="pitch method, or hybrid[a+b]")
    parser.add_argument("--f0-method-weight", help="weight of b in hybrid[a+b], 0..1")
    parser.add_argument("--protect", help="protection of unvoiced consonants, 0..0.5")
    parser.add_argument("--formant-shift", help="semitones, -12..12")
    parser.add_argument("--speaker-id", help="speaker of a multi-speaker voice")
    parser.add_argument("--seed", help="fixes all noise")
    parser.add_argument("--unvoiced-f0", help="zero or interpolate (default: what the voice says)")


def given_parameters(arguments: argparse.Namespace, defaults: "ConversionParameters") -> "ConversionParameters":
    """The conversion parameters of a command line over `defaults`. Raises InvalidParameter."""
    from anivoice.parameters import ConversionParameters

    given = {name: getattr(arguments, name) for name in ConversionParameters.model_fields}
    return ConversionParameters.parse({name: value for name, value in given.items() if value is not None}, defaults)


def add_geometry_options(parser: argparse.ArgumentParser) -> None:
    """The lengths of a live stream's windows."""
    parser.add_argument(
        "--preset",
        help="ultra, low, balanced or quality: block of 40, 80, 160 or 320 ms; auto: the shortest that the machine "
        "computes in time (balanced)",
    )
    parser.add_argument("--block-ms", help="block, in place of the preset's")
    parser.add_argument("--context-ms", help="context, in place of the preset's")
    parser.add_argument("--crossfade-ms", help="crossfade, in place of the preset's")
    parser.add_argument("--lookahead-ms", help="look-ahead, in place of the preset's")


def add_stream_options(parser: argparse.ArgumentParser) -> None:
    """The stream settings that a file does not decide."""
    add_geometry_options(parser)
    parser.add_argument("--mode", help="live (drops what comes too late) or reliable (default: as the pace wants it)")
    parser.add_argument("--gate-db", help="quieter input gives silence (-60)")
    parser.add_argument("--passthrough", action="store_const", const=True, help="the input, unchanged, as late")
    parser.add_argument("--mute", action="store_const", const=True, help="silence")
    parser.add_argument("--output-sample-rate", help="Hz (default: IN's)")


def add_load_options(parser: argparse.ArgumentParser, num_sessions: int) -> None:
    """How a load test is done."""
    parser.add_argument("--sessions", type=int, default=num_sessions, help=f"live streams at once ({num_sessions})")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long they are measured (20)")
    parser.add_argument("--message-ms", type=float, default=20.0, help="length of the clients' messages (20)")
    parser.add_argument("--mode", help="live or reliable (live)")
    add_geometry_options(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, - for standard output")


def settings_of(arguments: argparse.Namespace) -> "Settings":
    """Settings with the options that this command knows."""
    from anivoice.config import Settings, load_settings

    return load_settings({name: getattr(arguments, name, None) for name in Settings.model_fields})

"""The command line: `anivoice serve | convert | stream | mic | voices | fetch | bench | train | doctor`.

Only argparse is imported here; each command imports what it needs, so that `anivoice --help` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from anivoice import __version__
from anivoice.commands.bench import add_bench
from anivoice.commands.options import (
    FILE_DECIDES,
    CommandParser,
    add_conversion_options,
    add_device_options,
    add_microphone_options,
    add_settings,
    add_stream_options,
    given_options,
    given_parameters,
    microphone_parameters,
    settings_of,
)
from anivoice.commands.train import add_train
from anivoice.process import configure_process


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    from anivoice.errors import AnivoiceError, InvalidParameter

    configure_process()
    try:
        arguments = build_parser().parse_args(argv)
        return int(arguments.run(arguments))
    except InvalidParameter as error:
        print(f"anivoice: {error}", file=sys.stderr)
        return 2
    except AnivoiceError as error:
        print(f"anivoice: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "anivoice":
            raise
        print(f"anivoice: this command needs {error.name}: `pip install anivoice` brings it", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> CommandParser:
    """All commands; each gets its options when it is called."""
    parser = CommandParser(prog="anivoice", description="Voice-changer server for RVC models.")
    parser.add_argument("--version", action="version", version=f"anivoice {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, add_options, summary, description in COMMANDS:
        commands.add_parser(name, add_options=add_options, help=summary, description=description or summary)
    return parser


def _serve_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.set_defaults(run=_serve)


def _convert_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN", help="audio file or folder")
    parser.add_argument("output", metavar="OUT", help="audio file (wav, flac, ogg, mp3) or folder")
    add_device_options(parser)
    add_conversion_options(parser)
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="convert a folder on a Ray cluster; without ADDRESS on this machine. IN and OUT may be object storage",
    )
    parser.add_argument("--ray-workers", type=int, metavar="N", help="actors with an engine each (one per GPU or core)")
    parser.add_argument("--output-format", help="wav, flac, ogg or mp3 (default: OUT's ending; wav for folders)")
    parser.add_argument("--output-sample-rate", type=int, help="Hz (default: the voice's)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_convert)


def _stream_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="IN", help="audio file")
    parser.add_argument("output", type=Path, metavar="OUT", help="audio file (wav, flac, ogg)")
    parser.add_argument("--pace", choices=("realtime", "fast"), default="realtime", help="how it is sent (realtime)")
    parser.add_argument("--url", help="a running server, such as http://127.0.0.1:8000")
    add_settings(parser, "api_key")
    add_device_options(parser)
    add_stream_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_stream)


def _mic_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", metavar="NAME", help="microphone: its name, or a part of it (the system's default)")
    parser.add_argument("--output", metavar="NAME", help="where the new voice is played (the system's default)")
    parser.add_argument("--monitor", metavar="NAME", help="a second output, to hear oneself; the key h switches it")
    parser.add_argument("--list-devices", action="store_true", help="show the inputs and outputs there are")
    parser.add_argument("--url", help="the server (http://127.0.0.1:8000)")
    parser.add_argument("--serve", action="store_true", help="also start a server, for as long as the command runs")
    parser.add_argument("--push-to-talk", action="store_true", help="silence but while the space bar is held")
    parser.add_argument("--virtual-mic", metavar="NAME", help="Linux: make a microphone of this name, and play into it")
    parser.add_argument("--remove-virtual-mic", metavar="NAME", help="Linux: take that microphone away again")
    parser.add_argument("--json", action="store_true", help="the state as a line of JSON every second")
    parser.add_argument("--quiet", action="store_true", help="no line with delay and levels")
    add_settings(parser, "api_key")
    add_device_options(parser)
    add_microphone_options(parser)
    parser.set_defaults(run=_mic)


def _voices_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, "weights_dir")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=_voices)


def _fetch_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch; --list shows the names")
    parser.add_argument("--list", action="store_true", help="show what can be fetched and what is there")
    parser.add_argument("--force", action="store_true", help="fetch again what is there")
    add_settings(parser, "weights_dir")
    parser.set_defaults(run=_fetch)


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable")
    add_settings(parser, "host", "port")
    add_device_options(parser)
    parser.set_defaults(run=_doctor)


COMMANDS: tuple[tuple[str, Callable[[argparse.ArgumentParser], None], str, str], ...] = (
    (
        "serve",
        _serve_options,
        "start the server",
        "Start the server. Every option is also an environment variable: --max-upload-mb is "
        "ANIVOICE_MAX_UPLOAD_MB; a .env file works, too. Conversion defaults: MODEL_NAME, PITCH_CHANGE, "
        "VOLUME_ENVELOPE, INDEX_RATE, PITCH_EXTRACTION_ALGO.",
    ),
    (
        "convert",
        _convert_options,
        "convert files without a server",
        "Convert one audio file, or all audio files of a folder (with its subfolders) into another folder.",
    ),
    (
        "stream",
        _stream_options,
        "send a file through the live path",
        "Send an audio file through the live path of a server, as a client would, and write what "
        "comes back. Without --url a server of its own runs for as long as the command.",
    ),
    (
        "mic",
        _mic_options,
        "change what a microphone hears",
        "Send a microphone through a server and play the new voice into an output, such as a virtual cable.",
    ),
    ("voices", _voices_options, "list the voices and what is wrong with them", ""),
    (
        "fetch",
        _fetch_options,
        "download the shared networks",
        "Download shared networks from Hugging Face (or the mirror named by HF_ENDPOINT). Without names: "
        "the content encoder and rmvpe.",
    ),
    ("bench", add_bench, "measure speed, or how good a voice is", ""),
    ("train", add_train, "make a voice or a content encoder", ""),
    ("doctor", _doctor_options, "say what is installed, found, missing, slow", ""),
)
"""Name, options, summary, description (else the summary)."""


def _serve(arguments: argparse.Namespace) -> int:
    from anivoice.config import load_default_parameters

    settings = settings_of(arguments)
    defaults = load_default_parameters()
    from anivoice.server.app import serve

    return serve(settings, defaults)


def _convert(arguments: argparse.Namespace) -> int:
    from anivoice.config import load_default_parameters

    parameters = given_parameters(arguments, load_default_parameters())
    how = (arguments.output_format, arguments.output_sample_rate, arguments.overwrite, arguments.quiet)
    if arguments.ray is not None:
        from anivoice.commands.convert_on_ray import convert_folder_on_ray

        folders = (arguments.input, arguments.output)
        return convert_folder_on_ray(
            settings_of(arguments), parameters, *folders, *how, arguments.ray, arguments.ray_workers
        )
    from anivoice.commands.convert import convert_paths

    return convert_paths(settings_of(arguments), parameters, Path(arguments.input), Path(arguments.output), *how)


def _stream(arguments: argparse.Namespace) -> int:
    from anivoice.config import load_default_parameters

    settings, defaults = settings_of(arguments), load_default_parameters()
    from anivoice.commands.stream import stream_file
    from anivoice.live.parameters import StreamParameters

    names = StreamParameters.model_fields.keys() - set(FILE_DECIDES)
    given = given_options(arguments, names)
    server = (settings, defaults) if arguments.url is None else (arguments.url, settings.api_key)
    return stream_file(
        arguments.input, arguments.output, given, arguments.pace, server, arguments.overwrite, arguments.quiet
    )


def _mic(arguments: argparse.Namespace) -> int:
    from anivoice.commands.mic import run_mic
    from anivoice.live.parameters import StreamParameters

    parameters = given_options(arguments, microphone_parameters())
    StreamParameters().changed(dict(parameters))
    return run_mic(arguments, settings_of(arguments), parameters)


def _voices(arguments: argparse.Namespace) -> int:
    from anivoice.commands.voices import show_voices

    return show_voices(settings_of(arguments).weights_dir, arguments.json, sys.stdout)


def _fetch(arguments: argparse.Namespace) -> int:
    from anivoice.commands.fetch import run_fetch

    return run_fetch(arguments.names, settings_of(arguments).weights_dir, arguments.force, arguments.list, sys.stdout)


def _doctor(arguments: argparse.Namespace) -> int:
    from anivoice.commands.doctor.report import run_doctor

    settings = settings_of(arguments)
    return run_doctor(
        settings.weights_dir,
        arguments.json,
        settings.host,
        settings.port,
        sys.stdout,
        gpu_index=settings.gpu_index,
        device=settings.device,
    )

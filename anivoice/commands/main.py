"""The command line: `anivoice serve | convert | stream | voices | fetch | bench | train | doctor`.

Only argparse is imported here; each command imports what it needs, so that `anivoice --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anivoice import __version__
from anivoice.commands.bench import add_bench
from anivoice.commands.options import (
    Commands,
    add_conversion_options,
    add_device_options,
    add_live_engine_options,
    add_stream_options,
    given_parameters,
    settings_of,
)
from anivoice.commands.train import add_train


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    from anivoice.errors import AnivoiceError, InvalidParameter

    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except InvalidParameter as error:
        print(f"anivoice: {error}", file=sys.stderr)
        return 2
    except AnivoiceError as error:
        print(f"anivoice: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="anivoice", description="Voice-changer server for RVC models.")
    parser.add_argument("--version", action="version", version=f"anivoice {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_convert(commands)
    _add_stream(commands)
    _add_voices(commands)
    _add_fetch(commands)
    add_bench(commands)
    add_train(commands)
    _add_doctor(commands)
    return parser


def _add_serve(commands: Commands) -> None:
    parser = commands.add_parser(
        "serve",
        help="start the server",
        description="Start the server. Every option is also an environment variable: --max-upload-mb is "
        "ANIVOICE_MAX_UPLOAD_MB; a .env file works, too. Conversion defaults: MODEL_NAME, PITCH_CHANGE, "
        "VOLUME_ENVELOPE, INDEX_RATE, PITCH_EXTRACTION_ALGO.",
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (8000), 0 for any free one")
    parser.add_argument("--api-key", help="demand this key as a bearer token")
    parser.add_argument("--allowed-origins", help="web origins whose pages may call the server, comma-separated")
    add_device_options(parser)
    add_live_engine_options(parser)
    parser.add_argument("--max-upload-mb", help="largest upload in MiB (512)")
    parser.add_argument("--max-audio-seconds", help="longest recording that is converted (14400)")
    parser.add_argument("--max-concurrent-conversions", help="file conversions at once (4)")
    parser.add_argument("--max-waiting-conversions", help="file conversions that may wait in line (32)")
    parser.add_argument("--max-sessions", help="streaming sessions at once (256)")
    parser.add_argument("--session-ttl-seconds", help="an unused session expires after this time (300)")
    parser.add_argument("--session-grace-seconds", help="a lost connection may come back for this time (15)")
    parser.add_argument("--max-message-kb", help="largest message of a stream in KiB (1024)")
    parser.add_argument("--voice-cache-mb", help="memory for loaded voices (2048)")
    parser.add_argument("--max-stall-seconds", help="give up an upload or download that stands still this long (60)")
    parser.add_argument("--workers", help="threads that store uploads, read results and load files (4)")
    parser.add_argument("--log-level", help="debug, info, warning or error (info)")
    parser.set_defaults(run=_serve)


def _add_convert(commands: Commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="convert files without a server",
        description="Convert one audio file, or all audio files of a folder (with its subfolders) into another folder.",
    )
    parser.add_argument("input", type=Path, metavar="IN", help="audio file or folder")
    parser.add_argument("output", type=Path, metavar="OUT", help="audio file (wav, flac, ogg, mp3) or folder")
    add_device_options(parser)
    add_conversion_options(parser)
    parser.add_argument("--output-format", help="wav, flac, ogg or mp3 (default: OUT's ending; wav for folders)")
    parser.add_argument("--output-sample-rate", type=int, help="Hz (default: the voice's)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_convert)


def _add_stream(commands: Commands) -> None:
    parser = commands.add_parser(
        "stream",
        help="send a file through the live path",
        description="Send an audio file through the live path of a server, as a client would, and write what "
        "comes back. Without --url a server of its own runs for as long as the command.",
    )
    parser.add_argument("input", type=Path, metavar="IN", help="audio file")
    parser.add_argument("output", type=Path, metavar="OUT", help="audio file (wav, flac, ogg)")
    parser.add_argument("--pace", choices=("realtime", "fast"), default="realtime", help="how it is sent (realtime)")
    parser.add_argument("--url", help="a running server, such as http://127.0.0.1:8000")
    parser.add_argument("--api-key", help="the server's key")
    add_device_options(parser)
    add_conversion_options(parser)
    add_stream_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_stream)


def _add_voices(commands: Commands) -> None:
    parser = commands.add_parser("voices", help="list the voices and what is wrong with them")
    parser.add_argument("--weights-dir", help="folder of the voices (weights)")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=_voices)


def _add_fetch(commands: Commands) -> None:
    parser = commands.add_parser(
        "fetch",
        help="download the shared networks",
        description="Download shared networks from Hugging Face (or the mirror named by HF_ENDPOINT). Without names: "
        "the content encoder and rmvpe.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch; --list shows the names")
    parser.add_argument("--list", action="store_true", help="show what can be fetched and what is there")
    parser.add_argument("--force", action="store_true", help="fetch again what is there")
    parser.add_argument("--weights-dir", help="where to put it (weights)")
    parser.set_defaults(run=_fetch)


def _add_doctor(commands: Commands) -> None:
    parser = commands.add_parser("doctor", help="say what is installed, found, missing, slow")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--host", help="address to check (127.0.0.1)")
    parser.add_argument("--port", help="port to check (8000)")
    add_device_options(parser)
    parser.set_defaults(run=_doctor)


def _serve(arguments: argparse.Namespace) -> int:
    from anivoice.config import configure_process, load_default_parameters

    configure_process()
    settings = settings_of(arguments)
    defaults = load_default_parameters()
    from anivoice.server.app import serve

    return serve(settings, defaults)


def _convert(arguments: argparse.Namespace) -> int:
    from anivoice.config import configure_process, load_default_parameters

    configure_process()
    parameters = given_parameters(arguments, load_default_parameters())
    from anivoice.commands.convert import convert_paths

    return convert_paths(
        settings_of(arguments),
        parameters,
        arguments.input,
        arguments.output,
        arguments.output_format,
        arguments.output_sample_rate,
        arguments.overwrite,
        arguments.quiet,
    )


def _stream(arguments: argparse.Namespace) -> int:
    from anivoice.config import configure_process, load_default_parameters

    configure_process()
    settings, defaults = settings_of(arguments), load_default_parameters()
    from anivoice.commands.stream import FILE_DECIDES, stream_file
    from anivoice.live.parameters import StreamParameters

    names = StreamParameters.model_fields.keys() - set(FILE_DECIDES)
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    server = (settings, defaults) if arguments.url is None else (arguments.url, settings.api_key)
    return stream_file(
        arguments.input, arguments.output, given, arguments.pace, server, arguments.overwrite, arguments.quiet
    )


def _voices(arguments: argparse.Namespace) -> int:
    from anivoice.commands.voices import show_voices

    return show_voices(settings_of(arguments).weights_dir, arguments.json, sys.stdout)


def _fetch(arguments: argparse.Namespace) -> int:
    from anivoice.commands.fetch import run_fetch

    return run_fetch(arguments.names, settings_of(arguments).weights_dir, arguments.force, arguments.list, sys.stdout)


def _doctor(arguments: argparse.Namespace) -> int:
    from anivoice.commands.doctor.report import run_doctor
    from anivoice.config import configure_process

    configure_process()
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

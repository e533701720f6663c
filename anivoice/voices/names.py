"""What a voice may be called, and what of a file's name is the voice's."""

import re
import unicodedata

VOICE_SUFFIXES = (".pth", ".safetensors")
MAX_NAME_CHARS = 255

_EPOCH = re.compile(r"[_ -](e\d+[_-]?s\d+|s\d+[_-]?e\d+|\d+e[_-]\d+s|e\d+|\d+e)([_-]best[_-]epoch)?$", re.IGNORECASE)
_INDEX_NAME = re.compile(
    r"^(?:(?:added|trained)_)?(?:IVF\d+_)?(?:Flat_)?(?:nprobe_\d+_)?(?P<voice>.+?)(?P<version>_v[12])?$", re.IGNORECASE
)


def plain_name(name: str) -> str:
    """The name without the endings of voices, in composed form: a Mac writes `é` as two letters."""
    name = unicodedata.normalize("NFC", name)
    while name.lower().endswith(VOICE_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def fault_of_name(name: str) -> str | None:
    """Why a voice cannot be called so; None if it can."""
    if not name or name.startswith("."):
        return "a voice's name does not begin with a dot"
    if any(c in "/\\:" for c in name):
        return "a voice's name holds none of / \\ and :"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return "a voice's name is text in UTF-8 without control characters"
    return f"a voice's name has up to {MAX_NAME_CHARS} characters" if len(name) > MAX_NAME_CHARS else None


def name_in_index(stem: str) -> frozenset[str]:
    """The voice that an index is named for, as RVC-WebUI does: `added_IVF256_Flat_nprobe_1_NAME_v2` is NAME's.

    Two spellings where `_v2` may belong to the voice's own name. In lower case.
    """
    match = _INDEX_NAME.match(plain_name(stem))
    if match is None:
        return frozenset()
    voice, version = match["voice"].lower(), (match["version"] or "").lower()
    return frozenset({voice, voice + version})


def spellings(name: str) -> frozenset[str]:
    """The name, and the name without the epoch and the step that trainers append: `_e200_s4000`, `_200e_4000s`."""
    return frozenset({name.lower(), _EPOCH.sub("", name).lower()})

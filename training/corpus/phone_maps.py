"""The engines' phones as those of CMU's dictionary (`anivoice.training.phones`)."""

from collections.abc import Iterable

from anivoice.training.phones import INDEX_OF_PHONE, SILENCE, UNKNOWN
from training.corpus.speech import Segment

Parts = tuple[str, ...]
"""A sound that is two of ours, such as a vowel with an r, shares its time between them."""

RADIO = {
    "pau": SILENCE, "h#": SILENCE, "brth": SILENCE, "ssil": SILENCE, "#": SILENCE, "sil": SILENCE,
    "ax": "AH", "axr": "ER", "ix": "IH", "dx": "T", "nx": "N", "hv": "HH", "el": "L", "em": "M", "en": "N",
}  # fmt: skip
"""Festival's and flite's American voices; the rest are ours in small letters."""

ESPEAK: dict[str, Parts] = {
    "": (SILENCE,), "_": (SILENCE,), "_:": (SILENCE,), "_!": (SILENCE,), "_|": (SILENCE,), "?": (UNKNOWN,),
    "@": ("AH",), "@2": ("AH",), "a#": ("AH",), "I#": ("IH",), "I2": ("IH",), "I": ("IH",), "i": ("IY",), "i:": ("IY",),
    "E": ("EH",), "a": ("AE",), "aa": ("AE",), "V": ("AH",), "U": ("UH",), "u:": ("UW",), "u": ("UW",), "0": ("AA",),
    "0#": ("AA",), "A:": ("AA",), "A@": ("AA", "R"), "A:r": ("AA", "R"), "O:": ("AO",), "O": ("AO",), "O2": ("AA",),
    "O:r": ("AO", "R"), "O@": ("AO", "R"), "o@": ("AO", "R"), "3": ("ER",), "3:": ("ER",), "@L": ("AH", "L"),
    "e@": ("EH", "R"), "i@": ("IY", "R"), "i@3": ("IY", "R"), "U@": ("UH", "R"), "aI@": ("AY", "ER"),
    "aI3": ("AY", "ER"), "aU@": ("AW", "ER"), "aI": ("AY",), "aI2": ("AY",), "@-": ("AH",), "aU": ("AW",),
    "eI": ("EY",), "OI": ("OY",), "oU": ("OW",), "oU#": ("OW",), "o": ("OW",), "e": ("EY",), "IR": ("ER",),
    "VR": ("ER",), "r-": ("R",),
    "tS": ("CH",), "dZ": ("JH",), "S": ("SH",), "Z": ("ZH",), "T": ("TH",), "D": ("DH",), "N": ("NG",), "j": ("Y",),
    "h": ("HH",), "r": ("R",), "r/": ("R",), "*": ("T",), "t2": ("T",), "t#": ("T",), "d#": ("D",), "z#": ("Z",),
    "l/": ("L",), "l": ("L",), "L": ("L",), "n-": ("N",), "m-": ("M",), "l-": ("L",), "w#": ("W",), "x": (UNKNOWN,),
}  # fmt: skip
"""eSpeak NG's English phonemes; single letters that are missing here are ours."""

MRPA: dict[str, Parts] = {
    "#": (SILENCE,), "pau": (SILENCE,), "uh": ("AH",), "e": ("EH",), "a": ("AE",), "o": ("AA",), "i": ("IH",),
    "u": ("UH",), "ii": ("IY",), "uu": ("UW",), "oo": ("AO",), "aa": ("AA",), "@@": ("ER",), "ai": ("AY",),
    "ei": ("EY",), "oi": ("OY",), "au": ("AW",), "ou": ("OW",), "e@": ("EH", "R"), "i@": ("IY", "R"),
    "u@": ("UH", "R"), "@": ("AH",), "h": ("HH",),
}  # fmt: skip
"""Festival's British voices."""


def to_arpabet(segments: Iterable[Segment], names: dict[str, Parts] | dict[str, str]) -> tuple[Segment, ...]:
    """The segments in our phones; what no table knows is UNKNOWN, and neighbouring silences are one."""
    mapped: list[Segment] = []
    for phone, begin, end in segments:
        parts = names.get(phone, phone.upper())
        parts = (parts,) if isinstance(parts, str) else parts
        length = (end - begin) / len(parts)
        for position, part in enumerate(parts):
            known = part if part in INDEX_OF_PHONE else UNKNOWN
            mapped.append((known, round(begin + position * length, 4), round(begin + (position + 1) * length, 4)))
    joined: list[Segment] = []
    for phone, begin, end in mapped:
        if joined and phone == SILENCE and joined[-1][0] == SILENCE:
            joined[-1] = (SILENCE, joined[-1][1], end)
        elif end > begin:
            joined.append((phone, begin, end))
    return tuple(joined)

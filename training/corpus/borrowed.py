"""English spoken by voices of other languages: festival's diphone voices are given phones, times and pitch.

Each brings a person that no English engine has. Times are those that were asked for. A sound that the voice does not
have is replaced by a near one and counts as unknown.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import soundfile

from anivoice.training.phones import SILENCE, UNKNOWN, VOWELS
from training.corpus import festival
from training.corpus.speech import Segment, Spoken

RATE_RANGE = (0.85, 1.3)
ACCENT_RANGE = (-0.12, 0.25)
"""Of the pitch on a vowel, above the line that falls through the sentence."""
DECLINATION = 0.2
APPROXIMATE = "~"
"""Before the phones that are only near."""

Sounds = dict[str, str]
"""Our phone -> the voice's, two of them where it is a diphthong there."""

ITALIAN: Sounds = {
    "SIL": "#", "AA": "a", "AE": "~a", "AH": "~a", "AO": "O", "AW": "a u", "AY": "a i", "EH": "E", "ER": "~E r",
    "EY": "e i", "IH": "~i", "IY": "i", "OW": "o u", "OY": "O i", "UH": "~u", "UW": "u", "P": "p", "T": "t", "K": "k",
    "B": "b", "D": "d", "G": "g", "F": "f", "TH": "~f", "S": "s", "SH": "S", "HH": "", "V": "v", "DH": "~v", "Z": "z",
    "ZH": "Z", "CH": "tS", "JH": "dZ", "M": "m", "N": "n", "NG": "ng", "L": "l", "R": "r", "W": "w", "Y": "j",
}  # fmt: skip
CZECH: Sounds = {
    "SIL": "#", "AA": "a:", "AE": "~e", "AH": "~a", "AO": "o:", "AW": "a u", "AY": "a j", "EH": "e", "ER": "~e r",
    "EY": "e j", "IH": "i", "IY": "i:", "OW": "o u", "OY": "o j", "UH": "u", "UW": "u:", "P": "p", "T": "t", "K": "k",
    "B": "b", "D": "d", "G": "g", "F": "f", "TH": "~f", "S": "s", "SH": "s~", "HH": "h", "V": "v", "DH": "~v",
    "Z": "z", "ZH": "z~", "CH": "c~", "JH": "dz~", "M": "m", "N": "n", "NG": "~n", "L": "l", "R": "r", "W": "~u",
    "Y": "j",
}  # fmt: skip
FINNISH: Sounds = {
    "SIL": "#", "AA": "a:", "AE": "@", "AH": "~a", "AO": "~o:", "AW": "a u", "AY": "a i", "EH": "e", "ER": "~7",
    "EY": "e i", "IH": "~i", "IY": "i:", "OW": "o u", "OY": "o i", "UH": "~u", "UW": "u:", "P": "p", "T": "t",
    "K": "k", "B": "b", "D": "d", "G": "g", "F": "f", "TH": "~f", "S": "s", "SH": "S", "HH": "h", "V": "v", "DH": "~v",
    "Z": "~s", "ZH": "~S", "CH": "t S", "JH": "~d S", "M": "m", "N": "n", "NG": "N", "L": "l", "R": "r", "W": "~v",
    "Y": "j",
}  # fmt: skip
BRITISH: Sounds = {
    "SIL": "#", "AA": "aa", "AE": "a", "AH": "uh", "AO": "oo", "AW": "au", "AY": "ai", "EH": "e", "ER": "@@",
    "EY": "ei", "IH": "i", "IY": "ii", "OW": "ou", "OY": "oi", "UH": "u", "UW": "uu", "HH": "h",
    **{phone: phone.lower() for phone in "P T K B D G F TH S SH V DH Z ZH CH JH M N NG L R W Y".split()},
}  # fmt: skip
INDIAN: Sounds = {
    "SIL": "pau", "AA": "aa", "AE": "~eh", "AH": "a", "AO": "~oh", "AW": "aw", "AY": "ay", "EH": "eh", "ER": "~a r",
    "EY": "ee", "IH": "ih", "IY": "iy", "OW": "oo", "OY": "oh iy", "UH": "uh", "UW": "uw", "P": "p", "T": "T",
    "K": "k", "B": "b", "D": "D", "G": "g", "F": "f", "TH": "~th", "S": "s", "SH": "sh", "HH": "h", "V": "v",
    "DH": "~dh", "Z": "~s", "ZH": "~sh", "CH": "ch", "JH": "j", "M": "m", "N": "n", "NG": "~n", "L": "l", "R": "r",
    "W": "~v", "Y": "y",
}  # fmt: skip
"""Of Hindi and Telugu; what is written with a capital is retroflex."""


def speak(
    voice: str,
    sounds: Sounds,
    mean_pitch_hz: float,
    timings: Mapping[str, Sequence[Segment]],
    texts: Mapping[str, str],
    directory: Path,
    *,
    rounds_times: bool = False,
) -> Iterator[tuple[str, Spoken]]:
    """`texts` by id with the phones and times of `timings`, at each sentence's own rate and pitch.

    The labels of a voice that `rounds_times` are stretched to the length of what it said.
    """
    known = [text_id for text_id in texts if text_id in timings]
    asked = {text_id: ask(timings[text_id], sounds, mean_pitch_hz, f"{voice} {text_id}") for text_id in known}
    utterances = {text_id: [part for _, parts in phones for part in parts] for text_id, phones in asked.items()}
    for text_id, spoken in festival.speak_segments(voice, utterances, directory):
        labels = _labels(asked[text_id])
        seconds = soundfile.info(str(spoken.path)).duration
        yield text_id, Spoken(spoken.path, stretched(labels, seconds) if rounds_times else labels)


Asked = list[tuple[str, list[tuple[str, float, float]]]]
"""Label, and the voice's phones with seconds and pitch in Hz."""


def ask(segments: Sequence[Segment], sounds: Sounds, mean_pitch_hz: float, seed: str) -> Asked:
    """What festival is asked for. A falling line with an accent on each vowel."""
    generator = random.Random(seed)  # noqa: S311
    rate, level = generator.uniform(*RATE_RANGE), generator.uniform(0.85, 1.2)
    asked: Asked = []
    for position, (phone, begin, end) in enumerate(segments):
        name = sounds.get(phone, sounds[SILENCE])
        parts = name.removeprefix(APPROXIMATE).split()
        label = UNKNOWN if name.startswith(APPROXIMATE) or phone not in sounds else phone
        line = 1 + DECLINATION * (0.5 - position / len(segments))
        pitch_hz = mean_pitch_hz * level * line * (1 + generator.uniform(*ACCENT_RANGE)) if phone in VOWELS else 0.0
        seconds = (end - begin) / rate / max(len(parts), 1)
        asked.append((label, [(part, seconds, pitch_hz) for part in parts]))
    return asked


def _labels(asked: Asked) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    begin = 0.0
    for label, parts in asked:
        end = begin + sum(seconds for _, seconds, _ in parts)
        if parts:
            segments.append((label, begin, end))
        begin = end
    return tuple(segments)


def stretched(segments: Sequence[Segment], seconds: float) -> tuple[Segment, ...]:
    """The segments, all longer or shorter, so that the last one ends after `seconds`."""
    factor = seconds / segments[-1][2]
    return tuple((phone, begin * factor, end * factor) for phone, begin, end in segments)

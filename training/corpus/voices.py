"""The voices: engine, person, licence, and how many sentences each says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from training.corpus import aligned, borrowed, espeak, festival, flite, foreign, people, recordings
from training.corpus.phone_maps import ESPEAK, RADIO, Parts
from training.corpus.speech import Segment, Spoken

if TYPE_CHECKING:
    from pocketsphinx import Decoder

Speak = Callable[[Mapping[str, str], Path], Iterator[tuple[str, Spoken]]]

EST = "University of Edinburgh and CMU, permissive (that of Festival)"
CMU = "CMU, permissive (that of Flite)"
LGPL = "LGPL-2.1+ (RHVoice and this voice's data)"
PICO = "Apache-2.0 by its own statement (SVOX)"
GPL2_ITALIAN = "GPL-2+ (ISTC-SPFD CNR)"
GPL3_CZECH = "GPL-3+ (Brailcom)"
GPL2_INDIAN = "GPL-2+ (C-DAC Mumbai, IIT Madras)"
LGPL_CATALAN = "LGPL-2.1+ (Universitat Politècnica de Catalunya); HTS: BSD-3"
RUSSIAN_LICENCE = "Nickolay V. Shmyrev, permissive (that of Festival)"
LGPL_FINNISH = "LGPL-2+ (University of Helsinki)"
ESPEAK_LICENCE = "engine and variants GPL-3+; what they say is free"

ESPEAK_ACCENTS = ("en-us", "en-us", "gmw/en", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland")
"""Used in turn; American ones most."""
ESPEAK_VARIANTS = (
    "Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike Mr Nguyen "
    "RicishayMax RicishayMax2 RicishayMax3 Storm Tweaky adam anika antonio aunty belinda benjamin boris caleb david ed "
    "edward edward2 f1 f2 f3 f4 f5 grandma grandpa gustave iven iven2 iven3 iven4 john kaukovalta klatt klatt2 klatt3 "
    "klatt4 klatt5 klatt6 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro quincy rob "
    "robert sandro shelby steph steph2 steph3 travis victor zac"
).split()


@dataclass(frozen=True)
class Voice:
    """One voice of one engine; `person` is who was recorded, the same in several engines."""

    engine: str
    name: str
    person: str
    licence: str
    speak: Speak
    phone_names: dict[str, Parts] | dict[str, str] = field(default_factory=lambda: RADIO)
    sex: str = ""


@cache
def _aligner() -> "Decoder":
    return aligned.make_decoder()


@cache
def _espeak_library() -> espeak.EspeakLibrary:
    return espeak.EspeakLibrary()


def festival_voice(name: str, person: str, licence: str = EST) -> Voice:
    """One of festival's American voices."""
    return Voice("festival", name, person, licence, partial(festival.speak, name))


def _flite(name: str, person: str, mean_pitch_hz: float) -> Voice:
    return Voice("flite", name, person, CMU, partial(flite.speak, name, mean_pitch_hz))


def _rhvoice(name: str) -> Voice:
    return Voice("rhvoice", name, name, LGPL, partial(_aligned, aligned.speak_rhvoice, name))


def _pico(language: str) -> Voice:
    return Voice("pico", language, f"pico {language}", PICO, partial(_aligned, aligned.speak_pico, language))


def _aligned(
    speak: "Callable[[Decoder, str, Mapping[str, str], Path], Iterator[tuple[str, Spoken]]]",
    name: str,
    texts: Mapping[str, str],
    directory: Path,
) -> Iterator[tuple[str, Spoken]]:
    yield from speak(_aligner(), name, texts, directory)


def held_out_voices() -> list[tuple[str, Voice]]:
    """Persons that nothing is trained on; of Pico not even the engine."""
    return [
        ("ked", festival_voice("ked_diphone", "ked")),
        ("pico_us", _pico("en-US")),
        ("pico_gb", _pico("en-GB")),
        ("clb", _rhvoice("clb")),
    ]


def recordings_of_people() -> list[tuple[str, Voice]]:
    """For tests only."""
    licences = {"librivox": "public domain (LibriVox) / BSD-2 (pocketsphinx)", "cards": "BSD-2 (pocketsphinx)",
                "alsa": "GPL-2+ (alsa-utils)"}  # fmt: skip
    return [
        (name, Voice("human", name, name, licence, partial(_aligned, recordings.speak, name)))
        for name, licence in licences.items()
    ]


def person_voice(person: str, recordings_by_id: Mapping[str, people.Recording]) -> Voice:
    """One of the people of a folder of recordings."""
    one = next(iter(recordings_by_id.values()))

    def speak(texts: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Spoken]]:
        wanted = {text_id: recordings_by_id[text_id] for text_id in texts}
        yield from people.speak(_aligner(), _espeak_library(), wanted, directory)

    return Voice("human", one.collection, person, one.licence, speak, sex=one.sex)


def english_voices() -> list[tuple[str, Voice, int]]:
    """Name of the job, voice, sentences. The first lends its times to the borrowed voices."""
    return [
        ("kal", festival_voice("kal_diphone", "kal"), 1000),
        ("awb", _flite("awb", "awb", 130), 800),
        ("rms", _flite("rms", "rms", 100), 800),
        ("slt", _flite("slt", "slt", 170), 300),
        ("kal16", _flite("kal16", "kal", 105), 200),
    ]


def aligned_voices() -> list[tuple[str, Voice, int]]:
    """English voices that do not tell their times, so that they take the longest."""
    return [("bdl", _rhvoice("bdl"), 500), ("alan", _rhvoice("alan"), 500)]


def borrowed_voices(timings: Mapping[str, Sequence[Segment]]) -> Iterator[tuple[str, Voice, int]]:
    """Festival's voices of other tongues (and the British one), which are given English phones."""
    for name, sounds, person, pitch_hz, licence, count in (
        ("rab_diphone", borrowed.BRITISH, "rab", 115, EST, 700),
        ("lp_diphone", borrowed.ITALIAN, "lp", 190, GPL2_ITALIAN, 300),
        ("pc_diphone", borrowed.ITALIAN, "pc", 120, GPL2_ITALIAN, 300),
        ("czech_dita", borrowed.CZECH, "dita", 190, GPL3_CZECH, 300),
        ("czech_machac", borrowed.CZECH, "machac", 110, GPL3_CZECH, 300),
        ("czech_krb", borrowed.CZECH, "krb", 240, GPL3_CZECH, 300),
        ("czech_ph", borrowed.CZECH, "ph", 110, GPL3_CZECH, 300),
        ("suo_fi_lj_diphone", borrowed.FINNISH, "lj", 190, LGPL_FINNISH, 300),
        ("hy_fi_mv_diphone", borrowed.FINNISH, "mv", 110, LGPL_FINNISH, 300),
    ):
        yield person, _borrowed(name, sounds, person, pitch_hz, licence, timings), count


def more_borrowed_voices(timings: Mapping[str, Sequence[Segment]]) -> Iterator[tuple[str, Voice, int]]:
    """As above, added after all others, so that those go on to say the same sentences."""
    don = _borrowed("don_diphone", borrowed.BRITISH, "don", 105, EST, timings, rounds_times=True)
    yield "don", don, 300
    yield "nsk", _borrowed("hindi_NSK_diphone", borrowed.INDIAN, "nsk", 120, GPL2_INDIAN, timings), 300


def _borrowed(
    name: str,
    sounds: borrowed.Sounds,
    person: str,
    pitch_hz: float,
    licence: str,
    timings: Mapping[str, Sequence[Segment]],
    *,
    rounds_times: bool = False,
) -> Voice:
    speak = partial(borrowed.speak, name, sounds, pitch_hz, timings, rounds_times=rounds_times)
    return Voice("festival", name, person, licence, speak)


def foreign_voices() -> Iterator[tuple[str, Voice, foreign.Tongue, int]]:
    """Festival's voices that speak their own tongue only: name of the job, voice, tongue, sentences."""
    for name, person, tongue, licence in (
        ("upc_ca_ona_hts", "ona", foreign.CATALAN, LGPL_CATALAN),
        ("msu_ru_nsh_clunits", "nsh", foreign.RUSSIAN, RUSSIAN_LICENCE),
    ):
        voice = Voice("festival", name, person, licence, partial(festival.speak, name), tongue.phones)
        yield person, voice, tongue, 300


def espeak_voices() -> Iterator[tuple[str, Voice]]:
    """Every usable variant, each in one accent."""
    for number, variant in enumerate(ESPEAK_VARIANTS):
        name = f"{ESPEAK_ACCENTS[number % len(ESPEAK_ACCENTS)]}+{variant}"
        yield f"espeak_{variant}", Voice("espeak", name, f"espeak {variant}", ESPEAK_LICENCE, _espeak(name), ESPEAK)


def _espeak(name: str) -> Speak:
    def speak(texts: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Spoken]]:
        yield from espeak.speak(_espeak_library(), name, texts, directory)

    return speak

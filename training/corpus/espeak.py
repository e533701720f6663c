"""eSpeak NG through its C library: samples, and phoneme events with their times.

One process has one engine: `EspeakLibrary` is made once. Constants are those of `espeak-ng/speak_lib.h`.
"""

import ctypes
import random
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.corpus.speech import Segment, Spoken

LIBRARY_NAME = "libespeak-ng.so.1"
OUTPUT_SYNCHRONOUS = 2
OPTION_PHONEME_EVENTS = 1
EVENT_END, EVENT_PHONEME = 0, 7
CHARACTERS_UTF8 = 1
PARAMETER_RATE, PARAMETER_PITCH, PARAMETER_RANGE = 1, 3, 4
RATE_RANGE_WPM = (125, 210)
PITCH_RANGE = (25, 75)
INTONATION_RANGE = (25, 75)


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class EspeakLibrary:
    """The engine: `say` gives 16-bit samples and phonemes."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY_NAME)
        self.sample_rate_hz = int(self._library.espeak_Initialize(OUTPUT_SYNCHRONOUS, 0, None, OPTION_PHONEME_EVENTS))
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._hear)
        self._library.espeak_SetSynthCallback(self._callback)
        self._samples = bytearray()
        self._phonemes: list[tuple[str, float]] = []

    def say(self, voice: str, text: str, rate_wpm: int, pitch: int, intonation: int) -> tuple[bytes, list[Segment]]:
        """Raises ValueError for a voice that is not there."""
        self._samples, self._phonemes = bytearray(), []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}; `espeak-ng --voices=variant` lists the variants")
        for parameter, value in ((PARAMETER_RATE, rate_wpm), (PARAMETER_PITCH, pitch), (PARAMETER_RANGE, intonation)):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 0, 0, CHARACTERS_UTF8, None, None)
        self._library.espeak_Synchronize()
        return bytes(self._samples), self._segments()

    def _hear(
        self, samples: "ctypes._Pointer[ctypes.c_short]", num_samples: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if num_samples > 0:
            self._samples += ctypes.string_at(samples, 2 * num_samples)
        position = 0
        while events[position].type != EVENT_END:
            event = events[position]
            if event.type == EVENT_PHONEME:
                self._phonemes.append((bytes(event.id.text).decode("utf-8", "replace"), event.audio_position / 1000))
            position += 1
        return 0

    def _segments(self) -> list[Segment]:
        """Each phoneme lasts until the next; silence before the first."""
        end = len(self._samples) / 2 / self.sample_rate_hz
        begins = [begin for _, begin in self._phonemes]
        segments = [("", 0.0, begins[0])] if begins else []
        for (phoneme, begin), stop in zip(self._phonemes, [*begins[1:], end], strict=True):
            segments.append((phoneme, begin, stop))
        return segments


def speak(
    library: EspeakLibrary, voice: str, texts: Mapping[str, str], directory: Path
) -> Iterator[tuple[str, Spoken]]:
    """`texts` by id as `directory/ID.wav`, each at its own rate, pitch and intonation. `voice` as `en-us+f2`."""
    directory.mkdir(parents=True, exist_ok=True)
    for text_id, text in texts.items():
        generator = random.Random(f"{voice} {text_id}")  # noqa: S311
        settings = (generator.randint(*limits) for limits in (RATE_RANGE_WPM, PITCH_RANGE, INTONATION_RANGE))
        samples, segments = library.say(voice, text, *settings)
        path = directory / f"{text_id.replace('+', '_')}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, library.sample_rate_hz, 0, "NONE", ""))
            file.writeframes(samples)
        yield text_id, Spoken(path, tuple(segments))

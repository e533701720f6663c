"""Engines that do not tell when they say what (RHVoice, SVOX Pico): pocketsphinx aligns what they said to the text."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from anivoice.training.phones import SILENCE
from training.corpus.speech import Segment, Spoken
from training.corpus.text import words_of

if TYPE_CHECKING:
    from pocketsphinx import Decoder

ALIGNER_RATE_HZ = 16000
ALIGNER_FRAME_S = 0.01
QUIET = 0.01
"""Peak of 10 ms relative to the loudest, below which nobody speaks yet."""
MIN_LEAD_IN_S = 0.02


def speak_rhvoice(
    decoder: "Decoder", voice: str, texts: Mapping[str, str], directory: Path
) -> Iterator[tuple[str, Spoken]]:
    """A voice of RHVoice, such as `alan`."""
    yield from _speak(decoder, ["RHVoice-test", "-p", voice, "-o"], texts, directory, reads_stdin=True)


def speak_pico(
    decoder: "Decoder", language: str, texts: Mapping[str, str], directory: Path
) -> Iterator[tuple[str, Spoken]]:
    """A language of SVOX Pico, such as `en-GB`."""
    yield from _speak(decoder, ["pico2wave", "-l", language, "-w"], texts, directory, reads_stdin=False)


def make_decoder() -> "Decoder":
    """pocketsphinx with the American model of its package."""
    from pocketsphinx import Decoder

    return Decoder(samprate=ALIGNER_RATE_HZ, loglevel="FATAL", bestpath=False)


def _speak(
    decoder: "Decoder", command: list[str], texts: Mapping[str, str], directory: Path, reads_stdin: bool
) -> Iterator[tuple[str, Spoken]]:
    directory.mkdir(parents=True, exist_ok=True)
    for text_id, text in texts.items():
        path = directory / f"{text_id}.wav"
        arguments = [*command, str(path)] if reads_stdin else [*command, str(path), text]
        given = text if reads_stdin else None
        subprocess.run(arguments, input=given, text=True, capture_output=True, check=False)  # noqa: S603
        segments = align(decoder, path, text) if path.is_file() else ()
        if segments:
            yield text_id, Spoken(path, segments)


def align(decoder: "Decoder", path: Path, text: str) -> tuple[Segment, ...]:
    """CMU phones with times; nothing if the aligner finds no way through."""
    samples, rate_hz = soundfile.read(path, dtype="float32")
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    audio = (soxr.resample(samples, rate_hz, ALIGNER_RATE_HZ) * 32000).clip(-32768, 32767).astype("int16").tobytes()
    try:
        decoder.set_align_text(" ".join(words_of(text)))
        _decode(decoder, audio)
        decoder.set_alignment()
        _decode(decoder, audio)
        segments = tuple(_phones(decoder, len(audio) / 2 / ALIGNER_RATE_HZ))
    except RuntimeError:
        return ()
    return lead_in(segments, samples, rate_hz)


def lead_in(segments: tuple[Segment, ...], samples: NDArray[np.float32], rate_hz: int) -> tuple[Segment, ...]:
    """Silence before the first sound, which the aligner gives to the first phone, as what it is."""
    hop = rate_hz // 100
    level = np.abs(samples[: len(samples) // hop * hop]).reshape(-1, hop).max(axis=1)
    begin_s = int(np.argmax(level > QUIET * level.max())) * ALIGNER_FRAME_S
    phone, _, end = segments[0]
    if phone == SILENCE or not MIN_LEAD_IN_S < begin_s < end:
        return segments
    return ((SILENCE, 0.0, begin_s), (phone, begin_s, end), *segments[1:])


def _decode(decoder: "Decoder", audio: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(audio, full_utt=True)
    decoder.end_utt()


def _phones(decoder: "Decoder", seconds: float) -> Iterator[Segment]:
    """The aligner's phones; `+NSN+` and its like are unknown sounds."""
    end = 0.0
    for word in decoder.get_alignment():
        for phone in word:
            begin = phone.start * ALIGNER_FRAME_S
            end = begin + phone.duration * ALIGNER_FRAME_S
            yield phone.name, begin, end
    if end < seconds:
        yield SILENCE, end, seconds

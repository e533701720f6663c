"""Festival's voices, by a script for one process: text, or phones with given times and pitch."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.corpus.speech import Segment, Spoken, read_segments

CHUNK_SENTENCES = 40
"""Per process, so that one sentence that stops festival costs little."""

_HEAD = """(define (dump utt path)
  (let ((file (fopen path "w")))
    (mapcar (lambda (s) (format file "%s %f\\n" (item.name s) (item.feat s "end"))) (utt.relation.items utt 'Segment))
    (fclose file)))
(voice_{voice})
"""
_TEXT = """(set! utt (utt.synth (Utterance Text {text})))
(utt.save.wave utt {wave} 'riff)
(dump utt {segments})
"""
_SEGMENTS = """(set! utt (utt.synth (Utterance Segments ({phones}))))
(utt.save.wave utt {wave} 'riff)
(dump utt {segments})
"""


def _quoted(value: str | Path) -> str:
    return '"' + str(value).replace("\\", "").replace('"', "") + '"'


def speak(voice: str, texts: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Spoken]]:
    """`texts` by id, spoken by a voice such as `ked_diphone`, as `directory/ID.wav`."""
    commands = {
        text_id: _TEXT.format(text=_quoted(text), **_paths(directory, text_id)) for text_id, text in texts.items()
    }
    yield from _run(voice, commands, directory)


def speak_segments(
    voice: str, utterances: Mapping[str, Sequence[tuple[str, float, float]]], directory: Path
) -> Iterator[tuple[str, Spoken]]:
    """Phones of the voice's own set as (phone, duration in s, pitch in Hz at its middle, 0 for none), by id."""
    commands = {
        text_id: _SEGMENTS.format(phones=" ".join(map(_phone, phones)), **_paths(directory, text_id))
        for text_id, phones in utterances.items()
    }
    yield from _run(voice, commands, directory)


def _phone(phone: tuple[str, float, float]) -> str:
    name, seconds, pitch_hz = phone
    target = f"({seconds / 2:.4f} {pitch_hz:.1f})" if pitch_hz else ""
    return f'("{name}" {seconds:.4f} {target})'


def _paths(directory: Path, text_id: str) -> dict[str, str]:
    return {"wave": _quoted(directory / f"{text_id}.wav"), "segments": _quoted(directory / f"{text_id}.seg")}


def _run(voice: str, commands: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Spoken]]:
    directory.mkdir(parents=True, exist_ok=True)
    ids = list(commands)
    for first in range(0, len(ids), CHUNK_SENTENCES):
        chunk = ids[first : first + CHUNK_SENTENCES]
        script = directory / "speak.scm"
        script.write_text(_HEAD.format(voice=voice) + "".join(commands[text_id] for text_id in chunk), "utf-8")
        subprocess.run(["festival", "-b", str(script)], capture_output=True, check=False)  # noqa: S603, S607
        yield from _collect(chunk, directory)
        script.unlink()


def _collect(ids: Sequence[str], directory: Path) -> Iterator[tuple[str, Spoken]]:
    """What was spoken of `ids`: a sentence that festival failed on is left out."""
    for text_id in ids:
        wave, segments = directory / f"{text_id}.wav", directory / f"{text_id}.seg"
        if wave.is_file() and segments.is_file():
            spoken: tuple[Segment, ...] = read_segments(segments)
            segments.unlink()
            yield text_id, Spoken(wave, spoken)

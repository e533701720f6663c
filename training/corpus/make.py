"""Makes the corpus: `python -m training.corpus.make --out DIR [--parts target,people,...]`, see README.md."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import soundfile

from training.corpus.phone_maps import to_arpabet
from training.corpus.plan import ECHO, PARTS, PEOPLE, Job, all_jobs, corpus_texts, echo_job, people_jobs
from training.corpus.speech import Spoken, Utterance


def main() -> int:
    """Speaks what is not there yet; a job that was made before is left as it is."""
    parser = argparse.ArgumentParser(description="Make the speech that the embedded networks are trained on.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"which of {', '.join(PARTS)} (all)")
    parser.add_argument(
        "--speech", type=Path, help=f"recordings with a manifest.tsv, for the parts {PEOPLE} and {ECHO}"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the sentences of each voice, in every part (1)")
    parser.add_argument("--lexicon", type=Path, help="CMU's dictionary (that of the pocketsphinx package)")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    texts = corpus_texts(arguments.lexicon)
    (out / "manifest.d").mkdir(parents=True, exist_ok=True)
    for part in arguments.parts.split(","):
        if part == ECHO:
            _make(echo_job(arguments.speech, arguments.share), out)
            continue
        for job in people_jobs(arguments.speech) if part == PEOPLE else all_jobs(part, texts, out):
            _make(job.shortened(arguments.share), out)
    return 0


def _make(job: Job, out: Path) -> None:
    shard = out / "manifest.d" / f"{job.name}.jsonl"
    if shard.is_file():
        return
    lines = [utterance.to_json() + "\n" for utterance in _utterances(job, out)]
    _write(shard, lines)
    shards = sorted((out / "manifest.d").glob("*.jsonl"))
    _write(out / "manifest.jsonl", (shard.read_text("utf-8") for shard in shards))
    sys.stdout.write(f"{job.name}: {len(lines)} of {len(job.texts)} sentences\n")
    sys.stdout.flush()


def _utterances(job: Job, out: Path) -> Iterable[Utterance]:
    for text_id, spoken in job.speak(job.texts, out / "wav" / job.name):
        yield _describe(job, text_id, job.texts, spoken, out)


def _describe(job: Job, text_id: str, texts: Mapping[str, str], spoken: Spoken, out: Path) -> Utterance:
    info = soundfile.info(str(spoken.path))
    voice = job.voice
    return Utterance(
        path=str(spoken.path.relative_to(out)),
        engine=voice.engine,
        voice=voice.name,
        person=voice.person,
        text_id=text_id,
        text=texts[text_id],
        seconds=round(info.duration, 4),
        sample_rate_hz=info.samplerate,
        phones=to_arpabet(spoken.segments, voice.phone_names),
        licence=voice.licence,
        split=job.split,
        sex=voice.sex,
    )


def _write(path: Path, pieces: Iterable[str]) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text("".join(pieces), "utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(main())

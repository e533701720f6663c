"""`anivoice bench voice`: what a voice does to speech, judged on files by the real file path or the real live path."""

import asyncio
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from anivoice.bench.voice_judges import RATE_HZ, SpeakerEncoder
from anivoice.bench.voice_measures import (
    compare_pitch,
    mel_distance_db,
    semitones_between,
    spoken_words,
)
from anivoice.bench.voice_recognisers import RECOGNISERS, RecogniserName
from anivoice.bench.voice_report import show_judgement
from anivoice.bench.voice_sets import JudgedSet, Utterance, read_set
from anivoice.bench.voice_words import WordCounts
from anivoice.config import Settings
from anivoice.engine.batch import Job
from anivoice.engine.runtime import build_runtime
from anivoice.offline import convert_file, resolve
from anivoice.parameters import ConversionParameters
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.training.product_frames import pitch_frames

Samples = NDArray[np.float32]
Convert = Callable[[Utterance, ConversionParameters], Samples]
"""An utterance in the voice, at the rate given beside it; of the parameters only the transposition is asked."""

TARGET_NAME = "target"


@dataclass(frozen=True)
class JudgeOptions:
    """What is judged. `target` and `sets` as `read_set` reads them; `transpose` None finds the semitones per set."""

    target: str
    sets: tuple[str, ...]
    max_utterances: int = 40
    streamed: bool = False
    floor: bool = False
    transpose: float | None = None
    judge_pitch: str = "fcpe"
    judge: RecogniserName = "pocketsphinx"
    keep_folder: Path | None = None


@dataclass
class Sums:
    """What one set adds up to."""

    num_utterances: int = 0
    words: WordCounts = field(default_factory=WordCounts)
    by_sex: dict[str, WordCounts] = field(default_factory=dict)
    by_speaker: dict[str, WordCounts] = field(default_factory=dict)
    seconds: float = 0.0
    made_s: float = 0.0
    cents: list[NDArray[np.float64]] = field(default_factory=list)
    lists: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        if math.isfinite(value):
            self.lists.setdefault(name, []).append(value)

    def note_words(self, utterance: Utterance, counts: WordCounts) -> None:
        self.words += counts
        for groups, name in ((self.by_sex, utterance.sex), (self.by_speaker, utterance.speaker)):
            if name:
                groups[name] = groups.get(name, WordCounts()) + counts

    def report(self) -> dict[str, object]:
        """The set's figures; None where there is nothing to say."""
        means = {name: float(np.mean(values)) for name, values in self.lists.items()}
        cents = np.concatenate(self.cents) if self.cents else np.empty(0)
        return {
            "utterances": self.num_utterances,
            **self.words.report(),
            "cosine_source_target": means.get("cosine_source_target"),
            "cosine_made_target": means.get("cosine_made_target"),
            "cosine_made_source": means.get("cosine_made_source"),
            "f0_correlation": means.get("f0_correlation"),
            "f0_median_cents": float(np.median(cents)) if len(cents) else None,
            "voiced_agreement": means.get("voiced_agreement"),
            "mel_db": means.get("mel_db"),
            "real_time_factor": self.made_s / self.seconds if self.seconds else None,
            "by_sex": {name: counts.report() for name, counts in sorted(self.by_sex.items())},
            "by_speaker": {name: counts.report() for name, counts in sorted(self.by_speaker.items())},
        }


class Judge:
    """Holds the judges and what is known of the target."""

    def __init__(self, target: JudgedSet, judge_pitch: str, judge: RecogniserName) -> None:
        self.recogniser = RECOGNISERS[judge]()
        self.speakers = SpeakerEncoder.load()
        self.pitch = PitchExtractor(Path(), torch.device("cpu"), torch.float32)
        self.pitch.require(judge_pitch)
        self.judge_pitch = judge_pitch
        heard = [utterance.at_rate(RATE_HZ) for utterance in target.utterances]
        each = np.stack([self.speakers.embed(samples) for samples in heard])
        self.target_embedding = each.mean(0) / np.linalg.norm(each.mean(0))
        self.target_hz = [hz for samples in heard for hz in self.voiced_hz(samples)]

    def contour(self, samples: Samples) -> NDArray[np.float64]:
        """f0 in Hz, a value per 10 ms, 0 = unvoiced; without hum, which is no voice."""
        return np.asarray(pitch_frames(samples, self.pitch, self.judge_pitch).double().numpy())

    def voiced_hz(self, samples: Samples) -> list[float]:
        contour = self.contour(samples)
        return [float(hz) for hz in contour[contour > 0]]

    def semitones_to_target(self, judged: JudgedSet) -> int:
        """From the median pitch of a set's first utterances to the target's."""
        some = [hz for utterance in judged.utterances[:10] for hz in self.voiced_hz(utterance.at_rate(RATE_HZ))]
        return semitones_between(some, self.target_hz)

    def note(self, sums: Sums, utterance: Utterance, made: Samples, made_rate_hz: int, semitones: float) -> None:
        """Adds one utterance and what became of it."""
        source = utterance.at_rate(RATE_HZ)
        heard = _at_rate(made, made_rate_hz, RATE_HZ)
        words = (self.recogniser.words(source), self.recogniser.words(heard))
        sums.num_utterances += 1
        sums.note_words(utterance, WordCounts.of(spoken_words(utterance.text), *words))
        theirs, ours = self.speakers.embed(source), self.speakers.embed(heard)
        sums.note("cosine_source_target", float(theirs @ self.target_embedding))
        sums.note("cosine_made_target", float(ours @ self.target_embedding))
        sums.note("cosine_made_source", float(ours @ theirs))
        kept = compare_pitch(self.contour(heard), self.contour(source) * 2 ** (semitones / 12))
        sums.cents.append(kept.cents)
        sums.note("f0_correlation", kept.correlation)
        sums.note("voiced_agreement", kept.voiced_agreement)


def run_bench_voice(
    settings: Settings, parameters: ConversionParameters, options: JudgeOptions, json_path: Path | None
) -> int:
    """Judges, prints a table, writes JSON. Raises InvalidParameter, MissingAsset."""
    target = read_set(f"{TARGET_NAME}={options.target}", options.max_utterances)
    sets = [target, *(read_set(text, options.max_utterances) for text in options.sets)]
    judge = Judge(target, options.judge_pitch, options.judge)
    report: dict[str, object] = {"benchmark": "voice", "judge": options.judge, "path": _path_name(options)}
    with _converter(settings, parameters, options) as (convert, rate_hz):
        report["sets"] = {judged.name: _judge_set(judge, judged, convert, rate_hz, options) for judged in sets}
    show_judgement(report, json_path)
    return 0


def _path_name(options: JudgeOptions) -> str:
    if options.floor:
        return "floor"
    return "streamed" if options.streamed else "file"


def _judge_set(
    judge: Judge, judged: JudgedSet, convert: Convert, rate_hz: int, options: JudgeOptions
) -> dict[str, object]:
    is_target = judged.name == TARGET_NAME
    semitones = options.transpose
    if semitones is None:
        semitones = 0 if is_target or options.floor else judge.semitones_to_target(judged)
    sums = Sums()
    for utterance in judged.utterances:
        started_s = time.process_time()
        made = convert(utterance, ConversionParameters(pitch_change=semitones))
        sums.made_s += time.process_time() - started_s
        sums.seconds += len(made) / rate_hz
        judge.note(sums, utterance, made, rate_hz, semitones)
        if is_target:
            sums.note("mel_db", mel_distance_db(made, utterance.at_rate(rate_hz), rate_hz))
        if options.keep_folder is not None:
            _keep(options.keep_folder / judged.name / f"{utterance.path.stem}.wav", made, rate_hz)
    return {**sums.report(), "semitones": semitones}


def _keep(path: Path, made: Samples, rate_hz: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, made, rate_hz)


@contextmanager
def _converter(
    settings: Settings, parameters: ConversionParameters, options: JudgeOptions
) -> Iterator[tuple[Convert, int]]:
    """How an utterance is converted, and the rate of the result."""
    if options.floor:
        yield lambda utterance, _: utterance.at_rate(RATE_HZ), RATE_HZ
        return
    runtime = build_runtime(settings)
    name = parameters.model_name or runtime.library.default_name()
    parameters = parameters.model_copy(update={"model_name": name, "seed": parameters.seed or 1})
    if options.streamed:
        from anivoice.server.background import BackgroundServer

        with BackgroundServer(settings, parameters, runtime) as server:
            yield lambda utterance, changed: _streamed(server.base_url, parameters, utterance, changed), RATE_HZ
        return
    runtime.engine.start()
    try:
        with runtime.voices.using(str(name), parameters.index_rate > 0) as voice:

            def convert(utterance: Utterance, changed: ConversionParameters) -> Samples:
                asked = parameters.model_copy(update={"pitch_change": changed.pitch_change})
                result = io.BytesIO()
                with utterance.path.open("rb") as source:
                    convert_file(runtime.engine, resolve(voice, asked, runtime.runner.pitch), source, result, Job())
                result.seek(0)
                return np.asarray(soundfile.read(result, dtype="float32")[0])

            yield convert, voice.config.sample_rate_hz
    finally:
        runtime.engine.stop()


def _streamed(
    base_url: str, parameters: ConversionParameters, utterance: Utterance, changed: ConversionParameters
) -> Samples:
    """Through the live path, no faster than it converts and nothing dropped."""
    from anivoice.client.stream_client import StreamClient

    values = {
        **parameters.model_dump(exclude_none=True),
        "pitch_change": changed.pitch_change,
        "mode": "reliable",
        "sample_rate": RATE_HZ,
        "format": "pcm_f32le",
    }

    async def run() -> Samples:
        parts: list[Samples] = []
        async with StreamClient.connect(base_url, values) as stream:

            async def receive() -> None:
                parts.extend([part async for part in stream.samples()])

            receiving = asyncio.create_task(receive())
            await stream.send(utterance.at_rate(RATE_HZ))
            await stream.flush()
            await stream.close()
            await receiving
        return np.concatenate(parts)

    return asyncio.run(run())


def _at_rate(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    import soxr

    return samples if from_hz == to_hz else np.asarray(soxr.resample(samples, from_hz, to_hz), np.float32)

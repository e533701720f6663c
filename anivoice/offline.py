"""File conversion: decoded audio -> windows -> engine -> one continuous waveform -> file (SPEC 10).

It runs on a worker thread and waits for the engine; recordings, contours and results of any length lie in temporary
files, so an hour takes the memory of a few windows.
"""

import importlib
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, BinaryIO, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from anivoice.audio.envelope import FrameRms, VolumeEnvelope
from anivoice.audio.files import SYNTHETIC_NOTE, OutputFormat, Scratch, decode, encode
from anivoice.audio.resampler import StreamResampler
from anivoice.audio.segmentation import (
    DEFAULT_PROFILE,
    Profile,
    Segment,
    Source,
    content_frames,
    find_cuts,
    high_pass_chunks,
    plan_exact,
    read_reflected,
)
from anivoice.engine.batch import NO_PITCH, Job, PitchRequest, WindowRequest
from anivoice.engine.engine import Engine
from anivoice.errors import Cancelled, InvalidParameter
from anivoice.frames import FRAME_SAMPLES, SAMPLE_RATE_HZ, WindowLayout
from anivoice.models.voice_config import UnvoicedF0
from anivoice.parameters import ConversionParameters
from anivoice.stages.options import ConversionOptions
from anivoice.stages.pitch.contour import interpolate_unvoiced, shift_semitones
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.methods import format_pitch_algo, parse_pitch_algo
from anivoice.voices.voice import Voice

MAX_INPUT_PEAK = 0.95
MAX_OUTPUT_PEAK = 0.99
PITCH_WINDOW_FRAMES = 3000
PITCH_CONTEXT_FRAMES = 100
"""Pitch is estimated in windows of 30 s with a second of context on both sides."""

SILENT_PEAK = 1e-6
"""No recording of 16 bits has anything below but zeros."""

MAX_SUBMITTED = 2
"""Windows of one file in the engine at once: the next waits while this one's result is written."""

Progress = Callable[[float], None]
T = TypeVar("T")


@dataclass(frozen=True)
class ConversionTask:
    """What a file conversion needs beside the audio, nothing left open. `seed` None means no noise at all."""

    voice: Voice
    parameters: ConversionParameters
    pitch_algo: str
    seed: int | None
    output_format: OutputFormat = "wav"
    output_rate_hz: int | None = None
    max_seconds: float = 4 * 3600
    marks_synthetic: bool = True

    @property
    def unvoiced_f0(self) -> UnvoicedF0:
        return self.parameters.unvoiced_f0 or self.voice.unvoiced_f0

    @property
    def options(self) -> ConversionOptions:
        p = self.parameters
        return ConversionOptions(p.index_rate, p.protect, p.formant_shift, p.speaker_id)


def preload() -> None:
    """Imports what the first conversion would import: loading libraries holds up every other thread for a while."""
    for name in ("av", "faiss", "scipy.signal", "soundfile", "soxr"):
        importlib.import_module(name)


def resolve(voice: Voice, parameters: ConversionParameters, pitch: PitchExtractor) -> ConversionTask:
    """Fills in what the caller left open: the pitch method (rmvpe if installed, else fcpe) and the seed.

    Raises InvalidParameter for a speaker that the voice does not have, MissingAsset for a method that is not installed.
    """
    num_speakers = voice.config.num_speakers
    if parameters.speaker_id >= num_speakers:
        raise InvalidParameter(
            f"speaker_id: voice {voice.name} has {num_speakers} speakers, numbered from 0, not {parameters.speaker_id}"
        )
    algo = NO_PITCH
    if voice.config.has_f0:
        algo = format_pitch_algo(parse_pitch_algo(parameters.pitch_extraction_algo or pitch.default_method()))
        pitch.require(algo)
    seed = parameters.seed if parameters.seed is not None else secrets.randbits(63)
    return ConversionTask(voice, parameters, algo, seed)


@dataclass(frozen=True)
class ConversionReport:
    """What came out."""

    sample_rate_hz: int
    num_samples: int
    input_seconds: float
    notes: tuple[str, ...] = ()
    """Sentences for the user: what could not be done exactly as it was asked."""


def notes_on(voice: Voice, parameters: ConversionParameters) -> tuple[str, ...]:
    """What of the parameters the voice cannot do, in sentences."""
    if parameters.index_rate == 0 or voice.index is not None:
        return ()
    return (f"voice {voice.name} has no index: index_rate {parameters.index_rate:g} does nothing",)


def index_use(voice: Voice, parameters: ConversionParameters) -> Literal["used", "off", "none"]:
    """`off`: index_rate is 0; `none`: the voice has no index."""
    if parameters.index_rate == 0:
        return "off"
    return "none" if voice.index is None else "used"


def convert_file(
    engine: Engine,
    task: ConversionTask,
    source: BinaryIO,
    destination: BinaryIO,
    job: Job,
    progress: Progress = lambda _: None,
    decoded_s: Callable[[float], None] = lambda _: None,
) -> ConversionReport:
    """Converts the audio file `source` into `destination`; the result lasts exactly as long as the input.

    `decoded_s` is told the recording's length in seconds, and then `progress` the share that is done, 0..1.

    Raises what `audio.files.decode` raises, what the engine raises, InvalidModelFile when the voice gives values that
    are not numbers, and Cancelled when the job is cancelled.
    """
    rate_hz = task.output_rate_hz or task.voice.config.sample_rate_hz
    with Scratch() as decoded, Scratch() as filtered, Scratch() as converted, Scratch() as finished:
        info = decode(source, decoded, SAMPLE_RATE_HZ, task.max_seconds, partial(_stop_if_cancelled, job))
        decoded_s(info.num_frames / info.sample_rate_hz)
        gain = 1 / max(1.0, info.peak / MAX_INPUT_PEAK)
        input_rms = FrameRms(SAMPLE_RATE_HZ // 2)
        for chunk in _until_cancelled(high_pass_chunks(Scaled(decoded, gain)), job):
            input_rms.feed(chunk)
            filtered.append(chunk)
        made_rms = FrameRms(task.voice.config.sample_rate_hz // 2)
        for piece in convert_recording(engine, task, filtered, job, progress):
            made_rms.feed(piece)
            converted.append(piece)
        envelope = VolumeEnvelope(
            input_rms.result(), made_rms.result(), len(converted), task.parameters.volume_envelope
        )
        num_samples = max(round(info.num_frames * rate_hz / info.sample_rate_hz), 1)
        peak = _finish(converted, envelope, finished, task.voice.config.sample_rate_hz, rate_hz, num_samples, job)
        blocks = _until_cancelled(finished.blocks(), job)
        gain = 1 / max(1.0, peak / MAX_OUTPUT_PEAK)
        note = SYNTHETIC_NOTE if task.marks_synthetic else None
        encode(blocks, gain, destination, rate_hz, task.output_format, note)
    notes = (*info.notes, *notes_on(task.voice, task.parameters))
    return ConversionReport(rate_hz, num_samples, info.num_frames / info.sample_rate_hz, notes)


def convert_recording(
    engine: Engine,
    task: ConversionTask,
    recording: Source,
    job: Job,
    progress: Progress = lambda _: None,
    profile: Profile = DEFAULT_PROFILE,
) -> Iterator[NDArray[np.float32]]:
    """The converted waveform of filtered 16 kHz audio, at the voice's rate, in pieces that join without a gap."""
    f0_hz = None
    if task.voice.config.has_f0:
        raw = estimate_pitch(engine, task, recording, job, profile)
        f0_hz = finish_contour(raw, task.unvoiced_f0, task.parameters.pitch_change)
    segments = plan_exact(len(recording), find_cuts(recording, profile), profile)
    phases = source_phases(f0_hz, segments, task.voice.config.sample_rate_hz, profile)
    pieces = convert_segments(engine, task, recording, segments, f0_hz, phases, job, profile)
    for number, piece in enumerate(pieces, 1):
        progress(number / len(segments))
        yield piece


def convert_segments(
    engine: Engine,
    task: ConversionTask,
    recording: Source,
    segments: list[Segment],
    f0_hz: NDArray[np.float64] | None,
    phases: list[float],
    job: Job,
    profile: Profile,
) -> Iterator[NDArray[np.float32]]:
    """The waveform of each segment in turn. With `plan_reference`, phases of 0 and no seed this is what the reference
    computes, sample for sample; with `plan_exact` and `source_phases` the joints are continuous and nothing is missing.
    """
    requests = (
        segment_request(task, recording, segment, f0_hz, profile, phase)
        for segment, phase in zip(segments, phases, strict=True)
    )
    return (result.waveform for result in _in_order(engine, requests, job))


def segment_request(
    task: ConversionTask,
    recording: Source,
    segment: Segment,
    f0_hz: NDArray[np.float64] | None,
    profile: Profile,
    initial_phase: float = 0.0,
) -> WindowRequest:
    """The engine's request for a segment. `f0_hz` is the whole recording's as it is to be heard, its first frame
    `pad_samples` before 0; `initial_phase` that of the source before the window, in cycles.
    """
    samples = read_reflected(recording, segment.window_start, segment.window_stop)
    frame = (segment.window_start + profile.pad_samples) // FRAME_SAMPLES
    num_frames = min(content_frames(len(samples)), segment.window_frames)
    window_f0 = np.zeros(num_frames) if f0_hz is None else f0_hz[frame : frame + num_frames]
    first, rate_hz = segment.first_frame, task.voice.config.sample_rate_hz
    lookahead = num_frames - first - segment.num_frames
    return WindowRequest(
        voice=task.voice,
        layout=WindowLayout(segment.num_frames, context_frames=first, lookahead_frames=lookahead),
        samples=np.ascontiguousarray(samples, np.float32),
        window_frame=segment.window_start // FRAME_SAMPLES,
        f0_known_hz=np.ascontiguousarray(window_f0),
        num_known_frames=num_frames,
        initial_phase=float(phases_before(window_f0[:first], rate_hz, initial_phase)[-1]),
        noise_seed=task.seed,
        options=task.options,
    )


def estimate_pitch(
    engine: Engine, task: ConversionTask, recording: Source, job: Job, profile: Profile
) -> NDArray[np.float64]:
    """f0 in Hz of the recording with its mirrored padding: frame `i` is `i * 160 - pad_samples`. 0 = unvoiced."""
    pad = profile.pad_samples
    num_frames = -(-len(recording) // FRAME_SAMPLES) + 2 * pad // FRAME_SAMPLES
    bounds = [*range(0, num_frames, PITCH_WINDOW_FRAMES), num_frames]
    if len(bounds) > 2 and bounds[-1] - bounds[-2] < PITCH_CONTEXT_FRAMES:
        del bounds[-2]
    windows = [
        (max(start - PITCH_CONTEXT_FRAMES, 0), start, stop, min(stop + PITCH_CONTEXT_FRAMES, num_frames))
        for start, stop in pairwise(bounds)
    ]
    weight = task.parameters.f0_method_weight
    requests = (
        PitchRequest(
            np.ascontiguousarray(
                read_reflected(recording, first * FRAME_SAMPLES - pad, last * FRAME_SAMPLES - pad), np.float32
            ),
            task.pitch_algo,
            weight,
        )
        for first, _, _, last in windows
    )
    results = _in_order(engine, requests, job)
    parts = [f0[start - first :][: stop - start] for (first, start, stop, _), f0 in zip(windows, results, strict=True)]
    return np.concatenate(parts).astype(np.float64)


def finish_contour(f0_hz: NDArray[np.float64], unvoiced_f0: UnvoicedF0, semitones: float) -> NDArray[np.float64]:
    """The estimator's contour as the voice wants it: unvoiced frames filled or left 0, then transposed (SPEC 6.2)."""
    contour = torch.from_numpy(f0_hz)
    if unvoiced_f0 == "interpolate":
        contour = interpolate_unvoiced(contour)
    return np.asarray(shift_semitones(contour, semitones).numpy())


def source_phases(
    f0_hz: NDArray[np.float64] | None, segments: list[Segment], sample_rate_hz: int, profile: Profile
) -> list[float]:
    """Phase of the harmonic source before each window, in cycles, as if the recording were synthesised in one go.

    It is 0 where the recording begins, as in a live stream.
    """
    if f0_hz is None:
        return [0.0] * len(segments)
    phase = phases_before(f0_hz, sample_rate_hz)
    phase -= phase[profile.pad_samples // FRAME_SAMPLES]
    return [float(phase[(s.window_start + profile.pad_samples) // FRAME_SAMPLES] % 1.0) for s in segments]


def phases_before(f0_hz: NDArray[np.float64], sample_rate_hz: int, initial_phase: float = 0.0) -> NDArray[np.float64]:
    """Phase of the source before each of P frames and after the last, `[P + 1]`, in cycles, not reduced to one."""
    advance = np.remainder(f0_hz / sample_rate_hz * (sample_rate_hz // 100), 1.0)
    return np.concatenate([[initial_phase], initial_phase + np.cumsum(advance)])


class Scaled:
    """A recording times a constant, read in slices."""

    def __init__(self, source: Source, gain: float) -> None:
        self.source = source
        self.gain = gain

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, part: slice) -> NDArray[np.float64]:
        return self.source[part] * np.float64(self.gain)


def _finish(
    converted: Scratch,
    envelope: VolumeEnvelope,
    to: Scratch,
    voice_rate_hz: int,
    rate_hz: int,
    num_samples: int,
    job: Job,
) -> float:
    """Envelope, resampling and exact length; returns the peak."""
    resampler = StreamResampler(voice_rate_hz, rate_hz)
    peak, at = 0.0, 0
    for block in _until_cancelled(_block_lengths(len(converted)), job):
        samples = converted[at : at + block]
        if envelope.volume_envelope < 1:
            samples = (samples * envelope.gain(at, at + block)).astype(np.float32)
        at += block
        resampled = resampler.feed(samples, last=at == len(converted))[: max(num_samples - len(to), 0)]
        peak = max(peak, float(np.abs(resampled).max(initial=0.0)))
        to.append(resampled)
    to.append(np.zeros(num_samples - len(to), np.float32))
    return peak


def _block_lengths(length: int, block: int = 2**18) -> Iterator[int]:
    for start in range(0, length, block):
        yield min(block, length - start)


def _in_order(engine: Engine, requests: Iterator[PitchRequest] | Iterator[WindowRequest], job: Job) -> Iterator[Any]:
    """Results in the order of the requests, with a few in the engine at once."""
    waiting: deque[Future[Any]] = deque()
    for request in requests:
        _stop_if_cancelled(job)
        waiting.append(_submit(engine, request, job))
        if len(waiting) >= MAX_SUBMITTED:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _submit(engine: Engine, request: PitchRequest | WindowRequest, job: Job) -> "Future[Any]":
    """The result to come. Silence is silence in every voice: hours of it are not computed."""
    if np.abs(request.samples).max(initial=0.0) > SILENT_PEAK:
        return engine.submit(request, job)
    silence: Future[Any] = Future()
    silence.set_result(request.of_silence())
    return silence


def _until_cancelled(items: Iterator[T], job: Job) -> Iterator[T]:
    """`items`; raises Cancelled before the next one when the job is cancelled."""
    for item in items:
        _stop_if_cancelled(job)
        yield item


def _stop_if_cancelled(job: Job) -> None:
    """Between two steps: others may go first here, and who has been cancelled ends."""
    job.pause()
    if job.is_cancelled:
        raise Cancelled("the caller went away")

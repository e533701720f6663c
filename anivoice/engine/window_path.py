"""A batch of windows through the stages: content and pitch for all at once, the synthesizer voice by voice.

It says what is computed on which lane and what waits for what; `lanes` knows what a lane is on this device. Windows of
live streams come several at once; a file's segment is a batch of one, on the lanes of files.
"""

from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.engine.batch import NO_PITCH, Stage, WindowRequest, WindowResult
from anivoice.engine.streams import CONTENT, PITCH, SYNTHESIZER, Download, Lanes
from anivoice.engine.window_inputs import check, known_hz, num_known_frames, pitch_groups, whole_windows
from anivoice.engine.window_threads import WindowThreads
from anivoice.errors import AnivoiceError, InvalidModelFile
from anivoice.frames import FRAME_SAMPLES
from anivoice.models.cpu.threads import one_thread
from anivoice.models.prior_memory import PriorMemory
from anivoice.models.vits import Synthesizer
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.noise import PositionalNoise
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.methods import PITCH_METHODS
from anivoice.stages.stream_memory import StreamMemory
from anivoice.stages.synthesizer import LATENT_STREAM, SOURCE_STREAM
from anivoice.stages.window import (
    PlacedVoice,
    PriorWindow,
    SynthesisInput,
    WindowSynthesis,
    fill_content,
    heard_f0,
    merge_contours,
)
from anivoice.voices.voice import Voice

Outcome = WindowResult | AnivoiceError
Steps = Generator[Stage, None, list[Outcome]]


class WindowPath:
    """Windows of one batch key in, results out. It holds no state of any stream."""

    def __init__(self, lanes: Lanes, pitch: PitchExtractor, place: Callable[[Voice], PlacedVoice]) -> None:
        self.lanes = lanes
        self.pitch = pitch
        self.place = place
        self.threads: WindowThreads | None = None
        """They compute the windows of small voices. None: the engine's does."""

    def steps(self, requests: Sequence[WindowRequest]) -> Steps:
        """Yields the stage's name after each piece of work, or what it waits for. One outcome per request, in order."""
        for request in requests:
            check(request)
        placed = [self.place(request.voice) for request in requests]
        yield "placing"
        computing = self._windows(requests, placed)
        if self.threads is not None and _is_small(requests, placed):
            computing = self.threads.steps(computing)
        return (yield from computing)

    def _windows(self, requests: Sequence[WindowRequest], placed: list[PlacedVoice]) -> Steps:
        """Changes nothing but the streams' own memory: several threads may be at it at once."""
        samples = self.lanes.upload(whole_windows(requests))
        content = self._content(samples, placed[0], requests)
        yield "content"
        with one_thread() if _is_small(requests, placed) else nullcontext():
            raw_hz, f0_hz = self._pitch(samples, requests)
        yield "pitch"
        self.lanes.join(SYNTHESIZER, CONTENT, PITCH)
        downloads: list[tuple[list[int], Download]] = []
        for rows, synthesis in _voice_groups(requests, placed):
            part = _Part(rows, [requests[row] for row in rows], placed[rows[0]], synthesis)
            waveform, next_phase = yield from self._synthesis(part, content, f0_hz)
            results = [waveform, next_phase]
            if raw_hz is not None:
                index = self._index(rows)
                with self.lanes.on(SYNTHESIZER):
                    results.append(raw_hz[index])
            downloads.append((rows, self.lanes.download(SYNTHESIZER, results)))
        for _, download in downloads:
            while not download.is_done():
                yield download
        return _in_order(requests, downloads)

    def _content(self, samples: Tensor, placed: PlacedVoice, requests: Sequence[WindowRequest]) -> Tensor:
        """`[B, P / 2, F]`; in one piece that may be recorded, or with pauses."""
        encoder, version = placed.encoder, requests[0].voice.config.version
        num_frames = requests[0].layout.window_frames // 2

        def compute(x: Tensor) -> Tensor:
            return fill_content(encoder.encode(x, version), num_frames)

        with self.lanes.on(CONTENT), one_thread() if _is_short(encoder, requests) else nullcontext():
            if self.lanes.pauses and encoder.remembers and all(request.memory is not None for request in requests):
                return fill_content(_remembering(encoder, samples, requests), num_frames)
            return self.lanes.call(encoder, ("content", version), compute, [samples])

    def _pitch(self, samples: Tensor, requests: Sequence[WindowRequest]) -> tuple[Tensor | None, Tensor | None]:
        """f0 as estimated and as it is to be heard, `[B, P]`; None for voices without f0."""
        if not requests[0].voice.config.has_f0:
            return None, None
        known = self.lanes.upload(np.stack([known_hz(request) for request in requests]))
        num_known = self.lanes.upload(np.array([num_known_frames(request) for request in requests]))
        fills_gaps = self.lanes.upload(np.array([r.unvoiced_f0 == "interpolate" for r in requests]))
        factor = self.lanes.upload(np.array([2 ** (r.pitch_change / 12) for r in requests], np.float32))
        with self.lanes.on(PITCH):
            if all(num_known_frames(request) == request.layout.window_frames for request in requests):
                raw = known
            elif self.pitch.remembers(requests[0].algo) and all(request.memory is not None for request in requests):
                raw = self._remembering_pitch(samples, known, requests)
            else:
                raw = torch.empty_like(known)
                for (num_frames, weight), rows in pitch_groups(requests).items():
                    index = self._index(rows)
                    estimate = self._estimate(samples[index], requests[0].algo, weight, num_frames)
                    raw[index] = merge_contours(known[index], num_known[index], estimate)
            return raw, heard_f0(raw, fills_gaps, factor)

    def _remembering_pitch(self, samples: Tensor, known: Tensor, requests: Sequence[WindowRequest]) -> Tensor:
        """Stream by stream, as `_remembering` the content: f0 `[B, P]`."""
        rows = []
        for window, contour, request in zip(samples, known, requests, strict=True):
            assert request.memory is not None
            num_known = num_known_frames(request)
            first, first_wanted = request.window_frame, request.window_frame + num_known
            ahead = request.layout.lookahead_frames
            estimate = self.pitch.estimate_stream(window, request.algo, request.memory, first, first_wanted, ahead)
            rows.append(torch.cat([contour[:num_known], estimate]))
        return torch.stack(rows)

    def _estimate(self, samples: Tensor, algo: str, weight: float, num_frames: int) -> Tensor:
        """`[B, num_frames + 1]` of the windows' ends."""
        num_samples = num_frames * FRAME_SAMPLES
        heard = samples[:, -num_samples:]
        heard = torch.nn.functional.pad(heard, (num_samples - heard.shape[1], 0)).float()
        method = PITCH_METHODS.get(algo)
        if method is None or not method.is_recordable:
            return self.pitch.estimate(heard, algo, weight, realtime=True)
        key = ("pitch", algo)
        # What was recorded goes with the network: its file may be replaced.
        network = self.pitch.current(algo)
        return self.lanes.call(network, key, lambda x: self.pitch.estimate(x, algo, weight, realtime=True), [heard])

    def _synthesis(
        self, part: "_Part", content: Tensor, f0_hz: Tensor | None
    ) -> Generator[Stage, None, tuple[Tensor, Tensor]]:
        synthesis, index = part.synthesis, self._index(part.rows)
        phase = self.lanes.upload(np.array([request.initial_phase for request in part.requests]))
        latent, source = part.noise()
        latent_noise = self.lanes.upload(latent)
        source_noise = None if source is None else self.lanes.upload(source)
        speaker_ids = self.lanes.upload(np.array(part.speaker_ids()))
        protect = self.lanes.upload(np.array([r.options.protect for r in part.requests], np.float32))
        grid = self.lanes.upload(np.array(part.grid())) if synthesis.is_stretched else None
        with self.lanes.on(SYNTHESIZER):
            f0 = None if f0_hz is None else f0_hz[index]
            dtype = synthesis.synthesizer.dtype
            rates = [request.options.index_rate for request in part.requests]
            features = synthesis.features(part.placed.retriever, content[index], rates, f0, protect).to(dtype)
            x = SynthesisInput(features, f0, phase, latent_noise.to(dtype), source_noise, speaker_ids, grid)
        yield "retrieval"
        waveform = yield from self._waveform(synthesis, x, part.remembered())
        with self.lanes.on(SYNTHESIZER):
            return waveform, synthesis.next_phase(x)

    def _waveform(
        self, synthesis: WindowSynthesis, x: SynthesisInput, remembered: list[PriorWindow] | None
    ) -> Generator[Stage, None, Tensor]:
        """In one piece that may be recorded, or in several."""
        if self.lanes.pauses:
            alone = nullcontext if synthesis.is_shared else one_thread
            with alone():
                prior = synthesis.prior(x) if remembered is None else synthesis.stream_prior(x, remembered)
            yield "prior"
            with alone():
                z = synthesis.latent(prior, x)
            yield "flow"
            with alone():
                waveform = synthesis.decode(z, x)
            yield "decoder"
            return waveform
        key = ("synthesizer", synthesis.layout, synthesis.stretched_samples)
        names = [name for name, value in zip(x._fields, x, strict=True) if value is not None]
        given = [value for value in x if value is not None]

        def compute(*tensors: Tensor) -> Tensor:
            return synthesis(x._replace(**dict(zip(names, tensors, strict=True))))

        with self.lanes.on(SYNTHESIZER):
            waveform = self.lanes.call(synthesis.synthesizer, key, compute, given, synthesis.constants)
        yield "synthesizer"
        return waveform

    def _index(self, rows: list[int]) -> slice | Tensor:
        """`rows` (ascending) as an index. A list would be copied to the device while the host waits."""
        if rows[-1] - rows[0] + 1 == len(rows):
            return slice(rows[0], rows[-1] + 1)
        return self.lanes.upload(np.array(rows))


def _remembering(encoder: ContentEncoder, samples: Tensor, requests: Sequence[WindowRequest]) -> Tensor:
    """Stream by stream what its memory does not know: so each hears the same, whoever is computed with it."""
    rows = []
    for row, request in zip(samples.unsqueeze(1), requests, strict=True):
        assert request.memory is not None
        version, first_frame = request.voice.config.version, request.window_frame // 2
        rows.append(encoder.encode_stream(row, version, request.memory, first_frame, len(request.samples)))
    return torch.cat(rows)


def _is_short(encoder: ContentEncoder, requests: Sequence[WindowRequest]) -> bool:
    """Whether a second thread gains nothing for the content encoder."""
    return encoder.is_small and requests[0].layout.overlaps


def _is_small(requests: Sequence[WindowRequest], placed: Sequence[PlacedVoice]) -> bool:
    """Whether the windows are so short and no network so large that it would gain by several threads."""
    method = PITCH_METHODS.get(requests[0].algo)
    has_small_pitch = requests[0].algo == NO_PITCH or (method is not None and method.is_small)
    is_small = requests[0].layout.overlaps and has_small_pitch
    return is_small and all(voice.synthesizer.is_small and voice.encoder.is_small for voice in placed)


@dataclass(frozen=True)
class _Part:
    """The rows of a batch that one voice sings with one formant shift."""

    rows: list[int]
    requests: list[WindowRequest]
    placed: PlacedVoice
    synthesis: WindowSynthesis

    def speaker_ids(self) -> list[int]:
        synthesizer = self.synthesis.synthesizer
        return [synthesizer.checked_speaker(request.options.speaker_id) for request in self.requests]

    def remembered(self) -> list[PriorWindow] | None:
        """What the prior goes on from; None: from nothing."""
        synthesizer, memories = self.synthesis.synthesizer, [request.memory for request in self.requests]
        if not synthesizer.remembers or None in memories:
            return None
        model = synthesizer.model
        return [PriorWindow(_prior_memory(r.memory, model), r.window_frame) for r in self.requests if r.memory]

    def grid(self) -> list[int]:
        return [self.synthesis.grid(request.window_frame) for request in self.requests]

    def noise(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Of the latent `[B, C, P - flow_start]` and of the source `[B, (stop - start) * S]`."""
        synthesis, config = self.synthesis, self.synthesis.synthesizer.config
        first, last = synthesis.flow_start, synthesis.layout.window_frames
        latent = [_noise(r, LATENT_STREAM, config.inter_channels, first, last).T for r in self.requests]
        if not config.has_f0:
            return np.stack(latent), None
        first, last = synthesis.start, synthesis.stop
        source = [_noise(r, SOURCE_STREAM, config.frame_samples, first, last).ravel() for r in self.requests]
        return np.stack(latent), np.stack(source)


def _prior_memory(memory: StreamMemory, model: Synthesizer) -> PriorMemory:
    return memory.of("prior", model, lambda: PriorMemory(memory.assumed_frames > 0))


def _noise(request: WindowRequest, stream: int, num_columns: int, first: int, last: int) -> NDArray[np.float32]:
    """`[last - first, num_columns]` of the frames `first` to `last` of the window, zeros without a seed."""
    if request.noise_seed is None:
        return np.zeros((last - first, num_columns), np.float32)
    frame = request.window_frame
    return PositionalNoise(request.noise_seed, stream, num_columns).rows(frame + first, frame + last)


def _voice_groups(
    requests: Sequence[WindowRequest], placed: list[PlacedVoice]
) -> Iterator[tuple[list[int], WindowSynthesis]]:
    """Rows that one call of one voice's network can serve."""
    groups: dict[Hashable, tuple[list[int], WindowSynthesis]] = {}
    for row, request in enumerate(requests):
        shift = request.options.formant_shift
        key = (id(request.voice), shift)
        if key not in groups:
            groups[key] = ([], WindowSynthesis(placed[row].synthesizer, request.layout, shift))
        groups[key][0].append(row)
    yield from groups.values()


def _in_order(requests: Sequence[WindowRequest], downloads: list[tuple[list[int], Download]]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    for rows, download in downloads:
        waveform, next_phase, *raw = download.arrays()
        for i, row in enumerate(rows):
            f0_hz = raw[0][i] if raw else requests[row].f0_known_hz
            outcomes[row] = _outcome(requests[row], WindowResult(waveform[i], f0_hz, float(next_phase[i])))
    return [outcomes[row] for row in range(len(requests))]


def _outcome(request: WindowRequest, result: WindowResult) -> Outcome:
    if np.isfinite(result.waveform).all():
        return result
    return InvalidModelFile(
        f"voice {request.voice.name} gives values that are not numbers: its file is broken, or float16 is too narrow "
        "for it (--precision fp32, or ANIVOICE_PRECISION=fp32)"
    )

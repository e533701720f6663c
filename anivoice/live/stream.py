"""One live stream: samples in, windows to the engine, samples out. Bookkeeping alone, no asyncio, no engine.

Positions of the output equal positions of the input: nothing is put before the first sample and, after `flush`, nothing
is missing. What leaves at a step is `delay` older than what has come by then (see `audio.live_geometry`).

Resampled audio is late, mostly 3 ms. So much is missing at the end of each window, which is only looked ahead at: a
step is due with the last sample of its block. What cannot be hidden so delays the whole stream, by a constant. Blocks
are resampled one by one, whatever the messages were.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anivoice.audio.history import History
from anivoice.audio.levels import Gate, Limiter, LiveEnvelope
from anivoice.audio.live_geometry import NamedGeometry, latency_ms
from anivoice.audio.live_high_pass import LiveHighPass
from anivoice.audio.overlap_add import OverlapAdd
from anivoice.audio.resampler import StreamResampler
from anivoice.engine.batch import WindowRequest, WindowResult
from anivoice.frames import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ, WindowLayout
from anivoice.live.parameters import StreamParameters
from anivoice.stages.options import ConversionOptions
from anivoice.stages.stream_memory import StreamMemory
from anivoice.voices.voice import Voice

FRAMES_PER_SECOND = 100
INNER_RATE_HZ = 48000
"""Rate of the seams where the output's has no whole number of samples in 10 ms."""

MAX_HIDDEN_MS = 9.0
"""Less than a frame."""

FADE_MS = 10.0
"""Long enough for no click, short enough for no pause."""

SEAM_PULL = 0.05
"""Noise and phase are tied to positions, so successive windows agree where they stand; only a clear gain moves them."""

Samples = NDArray[np.float32]


class Step(NamedTuple):
    """A block that is due: the window that ends at the absolute frame `end_frame`."""

    end_frame: int


@dataclass(frozen=True)
class Source:
    """Who speaks from the next step on."""

    voice: Voice
    parameters: StreamParameters
    algo: str
    """The pitch method, settled; "none" for voices without f0."""
    chosen: NamedGeometry | None = None
    """The lengths, where the parameters leave a choice."""

    @property
    def lengths(self) -> NamedGeometry:
        """Those that were chosen, else the first that the parameters allow."""
        return self.chosen or self.parameters.geometries[0]

    @cached_property
    def options(self) -> ConversionOptions:
        """How every window is converted."""
        p = self.parameters
        return ConversionOptions(p.index_rate, p.protect, p.formant_shift, p.speaker_id)


class LiveStream:
    """A stream's state. Every step that `feed` or `flush` gives is ended by `finish` or `drop`, in order.

    `request` of a step needs the results of the steps before: at most one step of a stream is in the engine.
    """

    def __init__(self, source: Source, seed: int, fades_in: bool = False) -> None:
        self.source = source
        self.seed = seed
        self._fades_in = fades_in
        self.geometry: WindowLayout = source.lengths.geometry
        self.input_rate_hz = source.parameters.sample_rate
        self.output_rate_hz = source.parameters.wire_output[1]
        whole = self.output_rate_hz % FRAMES_PER_SECOND == 0
        self.inner_rate_hz = self.output_rate_hz if whole else INNER_RATE_HZ
        self.reset()

    def reset(self) -> None:
        """As new: silence before the first sample."""
        g, hop = self.geometry, self.inner_rate_hz // FRAMES_PER_SECOND
        self._hop = hop
        self._to_16k = StreamResampler(self.input_rate_hz, SAMPLE_RATE_HZ, low_delay=True)
        self._to_inner = StreamResampler(self.input_rate_hz, self.inner_rate_hz, low_delay=True)
        self._to_output = StreamResampler(self.inner_rate_hz, self.output_rate_hz, low_delay=True)
        self._high_pass = LiveHighPass(SAMPLE_RATE_HZ)
        self._heard, self._dry = History(), History()
        late_ms = max(self._to_16k.delay_ms, self._to_inner.delay_ms)
        self._late_frames = 2 * math.ceil(max(late_ms - MAX_HIDDEN_MS, 0) / (2 * FRAME_MS))
        hidden_ms = max(late_ms - FRAME_MS * self._late_frames, 0)
        self._hidden_16k, self._hidden = (_whole(hidden_ms * rate_hz / 1000) for rate_hz in (SAMPLE_RATE_HZ, 100 * hop))
        self._heard.append(np.zeros(self._late_frames * FRAME_SAMPLES, np.float32))
        self._dry.append(np.zeros(self._late_frames * hop, np.float32))
        self._gathered: list[Samples] = []
        self._num_input = self._num_taken = 0
        self._next_end, self._next_due = 0, 0
        self._await_next()
        self._last_end: int | None = None
        self._fades_out = False
        search = g.search_frames * hop
        self._seams = OverlapAdd(g.block_frames * hop, g.crossfade_frames * hop, search, search // 2, SEAM_PULL)
        self._lead = (g.lookahead_frames + g.crossfade_frames) * hop + search - search // 2
        self._lead += self._late_frames * hop
        self._to_skip = self._lead
        self._num_left_out = 0
        self._num_given = 0
        self._envelope, self._limiter = LiveEnvelope(self.inner_rate_hz), Limiter(self.output_rate_hz)
        self._gate = Gate(FRAME_SAMPLES, self.source.parameters.gate_db)
        self._open: list[bool] = []
        self._open_start = 0
        self._f0_hz = np.zeros(g.window_frames, np.float32)
        self._f0_start = g.block_frames - g.window_frames
        self._settled = 0
        self._memory = StreamMemory()
        self._phase = 0.0
        self._asked: tuple[int, int, int] | None = None

    def watch_seams(self, watch: Callable[[Samples, Samples], None]) -> None:
        """`watch` is called at every seam with the tail of the last window and what it is mixed with."""
        self._seams.watch = watch

    @property
    def resampling_ms(self) -> float:
        """How much later samples come out of the resamplers."""
        return FRAME_MS * self._late_frames + self._to_output.delay_ms

    def latency_ms(self, computing_ms: float) -> dict[str, float]:
        """The delay contract: every term, and `total`."""
        return latency_ms(self.geometry, self.resampling_ms, computing_ms)

    def change(self, source: Source) -> None:
        """From the next step on. Rates and lengths stay what they are."""
        self._gate.gate_db = source.parameters.gate_db
        self.source = source

    def feed(self, samples: Samples) -> list[Step]:
        """Mono samples at the input rate -> the steps that they make due."""
        if self._last_end is not None:
            self.reset()
        self._num_input += len(samples)
        self._gathered.append(samples)
        if self._num_input < self._next_due:
            return []
        gathered, start = self._gather()
        steps = []
        while self._num_input >= self._next_due:
            self._take(gathered[self._num_taken - start : self._next_due - start])
            self._num_taken = self._next_due
            steps.append(Step(self._next_end))
            self._await_next()
        if self._num_taken < self._num_input:
            self._gathered.append(gathered[self._num_taken - start :])
        return steps

    @property
    def is_speaking(self) -> bool:
        """Whether it has begun and was not flushed."""
        return self._last_end is None and self._num_input > 0

    def flush(self, fades_out: bool = False) -> list[Step]:
        """The stream ends here: the steps that bring out the rest. Feeding after it begins a new stream."""
        if not self.is_speaking:
            return []
        self._fades_out = fades_out
        rest, _ = self._gather()
        self._take(rest, last=True)
        num_inner = math.ceil(self._num_input * self.inner_rate_hz / self.input_rate_hz)
        block = self.geometry.block_frames
        self._last_end = max(math.ceil((num_inner + self._lead) / (block * self._hop)) * block, self._next_end)
        self._heard.append(np.zeros(max(self._last_end * FRAME_SAMPLES - self._heard.stop, 0), np.float32))
        self._dry.append(np.zeros(max(self._last_end * self._hop - self._dry.stop, 0), np.float32))
        self._listen()
        return [Step(end) for end in range(self._next_end, self._last_end + 1, block)]

    def request(self, step: Step) -> WindowRequest | None:
        """What the engine shall do for the step; None when there is nothing to compute."""
        g, source = self.geometry, self.source
        if source.parameters.passthrough or source.parameters.mute or not self._is_open(step):
            return None
        start = step.end_frame - g.window_frames
        self._move_contour(start)
        before, after = self._margins()
        self._asked = (source.voice.config.sample_rate_hz, before, after)
        self._heard.is_lent = True
        p = source.parameters
        return WindowRequest(
            voice=source.voice,
            layout=g.with_margins(before, after) if before or after else g,
            samples=self._heard.read(start * FRAME_SAMPLES, step.end_frame * FRAME_SAMPLES - self._hidden_16k),
            window_frame=start,
            f0_known_hz=self._f0_hz,
            num_known_frames=min(max(self._settled - start, 0), g.window_frames),
            initial_phase=self._phase,
            noise_seed=self.seed,
            algo=source.algo,
            f0_method_weight=p.f0_method_weight,
            pitch_change=p.pitch_change,
            unvoiced_f0=p.unvoiced_f0 or source.voice.unvoiced_f0,
            options=source.options,
            memory=self._memory,
        )

    def finish(self, step: Step, result: WindowResult | None, failed: bool = False) -> Samples:
        """The samples at the output rate that the step brings; without a result silence, or the input where it passes.

        A step that failed is silence and never the speaker's own voice.
        """
        g, p = self.geometry, self.source.parameters
        decode_stop = step.end_frame - g.lookahead_frames
        first = (decode_stop - g.decode_frames) * self._hop
        self._heard.is_lent = False
        if result is not None and not failed:
            self._keep(step, result)
            window = self._at_inner_rate(result)
        else:
            self._settle(step)
            window = np.zeros(g.decode_frames * self._hop, np.float32)
            if p.passthrough and not p.mute and not failed:
                window = self._passing(first, decode_stop)
        block, offset = self._seams.feed(window)
        if not p.passthrough and not self._envelope.is_idle(p.volume_envelope):
            at = first + offset
            block = self._envelope.feed(block, self._dry.read(at, at + len(block)), p.volume_envelope)
        self._forget(step)
        return self._give(step, block)

    def drop(self, step: Step) -> None:
        """The step is left out; the output goes on behind it, spliced by the crossfade of the next step."""
        self._settle(step)
        self._forget(step)
        skipped = min(self._to_skip, self.geometry.block_frames * self._hop)
        self._to_skip -= skipped
        self._num_left_out += self.geometry.block_frames * self._hop - skipped

    def _await_next(self) -> None:
        """The next block, and how many input samples make it due."""
        self._next_end += self.geometry.block_frames
        self._next_due = _whole(self._next_end * self.input_rate_hz / FRAMES_PER_SECOND)

    def _gather(self) -> tuple[Samples, int]:
        """What has come and was not taken, in one piece, and its position: small messages are put together."""
        parts = self._gathered
        self._gathered = []
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, np.float32)]), self._num_taken

    def _take(self, samples: Samples, last: bool = False) -> None:
        self._heard.append(self._high_pass.feed(self._to_16k.feed(samples, last)))
        self._dry.append(self._to_inner.feed(samples, last))
        self._listen()

    def _listen(self) -> None:
        """The gate decides about the frames that became whole."""
        first, stop = self._open_start + len(self._open), self._heard.stop // FRAME_SAMPLES
        self._open += self._gate.feed(self._heard.read(first * FRAME_SAMPLES, stop * FRAME_SAMPLES))

    def _is_open(self, step: Step) -> bool:
        """Whether the gate is open anywhere in what the step decodes, or ahead of it, as far as that is there."""
        start = step.end_frame - self.geometry.lookahead_frames - self.geometry.decode_frames
        stop = step.end_frame - (1 if self._hidden_16k else 0)
        return any(self._open[max(start - self._open_start, 0) : stop - self._open_start])

    def _margins(self) -> tuple[int, int]:
        """Frames decoded beyond both ends of what is wanted: resampling rings there."""
        if self.source.voice.config.sample_rate_hz == self.inner_rate_hz:
            return 0, 0
        return min(1, self.geometry.first_decoded_frame), min(1, self.geometry.lookahead_frames)

    def _move_contour(self, start: int) -> None:
        """Lets the contour begin at frame `start`; frames that were never estimated are unvoiced."""
        shift = start - self._f0_start
        if shift > 0:
            moved = np.zeros(len(self._f0_hz), np.float32)
            moved[: max(len(moved) - shift, 0)] = self._f0_hz[shift:]
            self._f0_hz, self._f0_start = moved, start

    def _keep(self, step: Step, result: WindowResult) -> None:
        """What was decoded is settled: the next window, which overlaps it, must use the same f0 there."""
        self._f0_hz = np.asarray(result.f0_hz, np.float32)
        self._settled = max(self._settled, step.end_frame - self.geometry.lookahead_frames)
        self._phase = result.next_phase

    def _settle(self, step: Step) -> None:
        """A step without a result: what it would have decoded is unvoiced in the windows to come."""
        self._move_contour(step.end_frame - self.geometry.window_frames)
        decode_stop = step.end_frame - self.geometry.lookahead_frames
        self._f0_hz = self._f0_hz.copy()  # the engine may still have it
        self._f0_hz[max(self._settled - self._f0_start, 0) : max(decode_stop - self._f0_start, 0)] = 0
        self._settled = max(self._settled, decode_stop)

    def _at_inner_rate(self, result: WindowResult) -> Samples:
        """The decoded window at the rate of the seams, margins cut off."""
        assert self._asked is not None
        rate_hz, before, _ = self._asked
        waveform = result.waveform
        if rate_hz != self.inner_rate_hz:
            import soxr

            waveform = soxr.resample(waveform, rate_hz, self.inner_rate_hz, quality="HQ")
        start = before * self._hop
        return np.asarray(waveform[start : start + self.geometry.decode_frames * self._hop], np.float32)

    def _passing(self, start: int, stop_frame: int) -> Samples:
        """The input, as far as it is there: without look-ahead the last few milliseconds, faded out anyway, are not."""
        missing = 0 if self.geometry.lookahead_frames else self._hidden
        samples = self._dry.read(start, stop_frame * self._hop - missing)
        return np.pad(samples, (0, missing)) if missing else samples

    def _give(self, step: Step, block: Samples) -> Samples:
        """The block at the output rate: without what lies before the first sample and behind the last."""
        skipped = min(self._to_skip, len(block))
        self._to_skip -= skipped
        is_last = step.end_frame == self._last_end
        out = self._limiter.feed(self._to_output.feed(block[skipped:], last=is_last))
        if self._last_end is not None:
            left = self._num_wanted() - self._num_given
            out = np.pad(out[:left], (0, left - len(out) if is_last and len(out) < left else 0))
        self._num_given += len(out)
        return self._faded(out)

    def _faded(self, out: Samples) -> Samples:
        """With the begin and the end of the stream raised and lowered over FADE_MS, where it is spliced."""
        num_fade = round(FADE_MS * self.output_rate_hz / 1000)
        start = self._num_given - len(out)
        if self._fades_in and start < num_fade:
            out = out * _raised(np.arange(start, self._num_given) / num_fade)
        if self._fades_out:
            left = self._num_wanted() - np.arange(start, self._num_given)
            out = out * _raised((left - 1) / num_fade)
        return out

    def _num_wanted(self) -> int:
        """Samples at the output rate that the whole stream brings."""
        left_out = round(self._num_left_out * self.output_rate_hz / self.inner_rate_hz)
        return max(round(self._num_input * self.output_rate_hz / self.input_rate_hz) - left_out, self._num_given)

    def _forget(self, step: Step) -> None:
        """Only what later steps need is kept."""
        g = self.geometry
        next_end = step.end_frame + g.block_frames
        self._heard.forget_before((next_end - g.window_frames) * FRAME_SAMPLES)
        first_decoded = next_end - g.lookahead_frames - g.decode_frames
        self._dry.forget_before(first_decoded * self._hop)
        if first_decoded > self._open_start:
            del self._open[: first_decoded - self._open_start]
            self._open_start = first_decoded


def _raised(position: NDArray[np.float64]) -> Samples:
    """Half a cosine from 0 at 0 to 1 at 1 and beyond."""
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(position, 0, 1))).astype(np.float32)


def _whole(num_samples: float) -> int:
    """Rounded up, whatever the last bits of a product say."""
    return math.ceil(num_samples - 1e-6)

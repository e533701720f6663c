"""Carries out the engine's requests with the real networks on one device."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from anivoice.engine.batch import (
    HostWork,
    PitchRequest,
    Request,
    Stage,
    WarmRequest,
    WarmWindowRequest,
    WindowRequest,
)
from anivoice.engine.devices import num_usable_cores
from anivoice.engine.steps import each_inside
from anivoice.engine.streams import PITCH, InlineLanes, Lanes
from anivoice.engine.window_path import Outcome, WindowPath
from anivoice.engine.window_threads import WindowThreads
from anivoice.errors import AnivoiceError
from anivoice.models.cpu.threads import WorkThreads
from anivoice.process import compute_exact_float32, prepare_compute_thread
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.retrieval import Retriever
from anivoice.stages.synthesizer import VoiceSynthesizer
from anivoice.stages.window import PlacedVoice
from anivoice.voices.voice import Voice

OWN_PRIOR_CONTEXT_FRAMES = 128
MAX_WINDOW_THREADS = 4
"""They share Python's lock: two do 1.5 to 1.8 times what one does (measured), more have not been tried."""

NUDGE_SIZE = 256
"""Rows and columns of the matrix product that keeps a device awake."""


class TorchRunner:
    """The networks of one device. float16 on CUDA unless told otherwise, float32 elsewhere."""

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        weights_dir: Path,
        num_threads: int | None = None,
        evict_idle_voice: Callable[[], Voice | None] = lambda: None,
        lanes: Lanes | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.num_threads = num_threads
        self.evict_idle_voice = evict_idle_voice
        self.threads: WorkThreads | None = None
        self._nudged: Tensor | None = None
        self.lanes = lanes or InlineLanes(device)
        self.pitch = PitchExtractor(weights_dir, device, dtype, before_drop=self.lanes.finish)
        self.live = WindowPath(self.lanes, self.pitch, self.placed)
        self.files = WindowPath(self.lanes.files, self.pitch, self.placed)

    def open(self) -> None:
        if self.device.type == "cuda" and self.device.index is not None:  # without an index it is the current one
            torch.cuda.set_device(self.device)
        prepare_compute_thread(self.num_threads)
        compute_exact_float32()
        if self.device.type == "cpu" and torch.get_num_threads() > 1:
            self.threads = WorkThreads(torch.get_num_threads())
            self.live.threads = _window_threads(torch.get_num_threads())

    def close(self) -> None:
        if self.live.threads is not None:
            self.live.threads.close()
            self.live.threads = None

    def steps(self, request: Request) -> Generator[Stage, None, object]:
        return each_inside(torch.inference_mode, self._begin(request))

    def window_steps(self, requests: Sequence[WindowRequest]) -> Generator[Stage, None, list[Outcome]]:
        return each_inside(torch.inference_mode, self.live.steps(requests))

    def _begin(self, request: Request) -> Generator[Stage, None, object]:
        match request:
            case WindowRequest():
                return self._one_window_steps(request)
            case WarmWindowRequest():
                return self._warm_window_steps(request.steady)
            case PitchRequest():
                return self._pitch_steps(request)
            case WarmRequest():
                return self._warm_steps(request)

    def _pitch_steps(self, request: PitchRequest) -> Generator[Stage, None, object]:
        samples = torch.from_numpy(request.samples)
        beside = self.pitch.begin_beside(samples, request.algo)
        for future in beside.values():
            while not future.done():
                yield HostWork(future)
        done = {name: future.result() for name, future in beside.items()}
        f0_hz = self.pitch.estimate(samples, request.algo, request.f0_method_weight, done=done)
        yield "pitch"
        # Live work goes on while the device is at a file's.
        download = self.lanes.files.download(PITCH, [f0_hz])
        while not download.is_done():
            yield download
        return download.arrays()[0]

    def _warm_steps(self, request: WarmRequest) -> Generator[str, None, object]:
        self.placed(request.voice)
        yield "placing"
        if request.algo is not None:
            self.pitch.estimate(torch.zeros(1600), request.algo)
        return None

    def _one_window_steps(self, request: WindowRequest) -> Generator[Stage, None, object]:
        path = self.live if request.layout.overlaps else self.files
        outcome = (yield from path.steps([request]))[0]
        if isinstance(outcome, AnivoiceError):
            raise outcome
        return outcome

    def _warm_window_steps(self, window: WindowRequest) -> Generator[Stage, None, object]:
        for size in self.lanes.recorded_sizes:
            yield from self.lanes.record(self.live.steps([window] * size))
        return None

    def placed(self, voice: Voice) -> PlacedVoice:
        """The voice's stages on the device; made at the first call, kept with the voice. Its index may come later."""
        placed = voice.placed
        if placed is not None and voice.encoder.placed is not None and (voice.index is None or placed.retriever):
            return placed
        placed = self._place(voice)
        self.lanes.settle()
        return placed

    def _place(self, voice: Voice) -> PlacedVoice:
        if voice.encoder.placed is None:
            voice.encoder.placed = ContentEncoder(voice.encoder.model, self.device, self.dtype)
        if voice.placed is None:
            # Voices for our own encoders learn from pieces of a few seconds; the encoder itself hears further back.
            is_own = voice.encoder.model.encoder_id is not None
            context_frames = OWN_PRIOR_CONTEXT_FRAMES if is_own else None
            synthesizer = VoiceSynthesizer(voice.model, self.device, self.dtype, self.threads, context_frames)
            voice.placed = PlacedVoice(voice.encoder.placed, synthesizer)
            voice.placed_bytes = 0 if synthesizer.cpu_decoder is None else synthesizer.cpu_decoder.num_bytes
        if voice.placed.retriever is None and voice.index is not None:
            voice.placed.retriever = Retriever(voice.index, self.device)
            voice.placed_bytes += voice.placed.retriever.num_bytes
        return voice.placed

    @property
    def records(self) -> bool:
        """Whether computations are recorded: then another formant shift is worth a warm-up."""
        return self.lanes.records

    def nudge(self) -> None:
        if self._nudged is None:
            self._nudged = torch.zeros(NUDGE_SIZE, NUDGE_SIZE, device=self.device)
        torch.mm(self._nudged, self._nudged)

    def free_memory(self) -> bool:
        """An idle voice with its recordings; without one all recordings: they only save time."""
        voice = self.evict_idle_voice()
        if voice is not None and voice.placed is not None:
            self.lanes.forget(voice.placed.synthesizer)
            voice.placed = None
        is_freed = voice is not None or self.lanes.forget_all()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return is_freed

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, torch.OutOfMemoryError | MemoryError)


def _window_threads(num_threads: int) -> WindowThreads | None:
    """None where there is but one core for them."""
    num_threads = min(num_threads, num_usable_cores(), MAX_WINDOW_THREADS)
    return WindowThreads(num_threads) if num_threads > 1 else None


def choose_dtype(device: torch.device, precision: str) -> torch.dtype:
    """`precision` auto, fp16 or fp32. Half precision is for CUDA alone; elsewhere it is slower or unsupported."""
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return {"fp16": torch.float16, "fp32": torch.float32}[precision]

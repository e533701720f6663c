"""`anivoice bench overhead`: the whole server around an engine that only copies. What it costs is the server's own."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from anivoice.bench.load import LoadOptions, load_test, machine
from anivoice.bench.load_report import show
from anivoice.bench.synthetic import full_size_config
from anivoice.bench.synthetic_runtime import MadeLibrary, MadeVoices
from anivoice.config import Settings
from anivoice.engine.batch import Request, Stage, WindowRequest, WindowResult
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.engine.runtime import Runtime
from anivoice.errors import AnivoiceError
from anivoice.frames import FRAME_SAMPLES
from anivoice.models.hubert import HubertModel
from anivoice.models.vits import Synthesizer
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.voices.voice import SharedEncoder, Voice, VoiceFiles

LAYOUT = "v2-48k"
VOICE_NAME = "copy"
MAX_LIVE_BATCH = 32
ANY_LOAD = 1e9
"""What an engine costs that does nothing is chance, and no reason to refuse anybody."""


class CopyRunner:
    """Gives back what it gets, at the voice's rate."""

    device = torch.device("cpu")
    dtype = torch.float32
    num_threads = 1
    records = False

    def __init__(self, weights_dir: Path) -> None:
        self.pitch = PitchExtractor(weights_dir, self.device, self.dtype, {"rmvpe": _no_pitch})

    def open(self) -> None:
        torch.set_num_threads(self.num_threads)

    def close(self) -> None: ...

    def steps(self, request: Request) -> Generator[Stage, None, object]:
        """Nothing has to be warmed, and nothing but live windows is converted."""
        yield "copy"
        return copied(request) if isinstance(request, WindowRequest) else None

    def window_steps(
        self, requests: Sequence[WindowRequest]
    ) -> Generator[Stage, None, list[WindowResult | AnivoiceError]]:
        yield "copy"
        return [copied(request) for request in requests]

    def nudge(self) -> None: ...

    def free_memory(self) -> bool:
        return False

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)


def copied(request: WindowRequest) -> WindowResult:
    """The decoded part of the window, every sample as often as the voice's rate wants it."""
    factor = request.voice.config.sample_rate_hz // (100 * FRAME_SAMPLES)
    layout = request.layout
    part = request.samples[layout.first_decoded_frame * FRAME_SAMPLES : layout.end_decoded_frame * FRAME_SAMPLES]
    num_missing = layout.decode_frames * FRAME_SAMPLES - len(part)
    if num_missing > 0:
        part = np.pad(part, (0, num_missing))
    return WindowResult(np.repeat(part, factor), request.f0_known_hz, request.initial_phase)


def copy_runtime(weights_dir: Path) -> Runtime:
    """A runtime with the copying runner and one voice without networks."""
    runner = CopyRunner(weights_dir)
    empty = nn.Module()
    encoder = SharedEncoder(Path("none"), (), cast(HubertModel, empty))
    files = VoiceFiles(VOICE_NAME, Path(VOICE_NAME), None, None)
    voice = Voice(files, (), full_size_config(LAYOUT), "zero", cast(Synthesizer, empty), encoder)
    library = MadeLibrary({VOICE_NAME: voice})
    engine = Engine(runner, max_live_batch=MAX_LIVE_BATCH)
    return Runtime(engine, cast(TorchRunner, runner), library, MadeVoices(library))


def run_bench_overhead(settings: Settings, options: LoadOptions, json_path: Path | None) -> int:
    """Measures, prints a table, writes JSON."""
    runtime = copy_runtime(settings.weights_dir)
    with load_test(settings, runtime, VOICE_NAME, options.num_sessions, max_load=ANY_LOAD) as test:
        report = test.run(options, options.num_sessions)
    report |= {"benchmark": "overhead", **machine(runtime), "parameters": dict(options.parameters)}
    show(report, f"an engine that copies, {options.num_sessions} sessions", json_path)
    return 0


def _no_pitch(samples: torch.Tensor) -> torch.Tensor:
    return torch.zeros(samples.shape[0], samples.shape[1] // FRAME_SAMPLES + 1)

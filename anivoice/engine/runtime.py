"""The engine with everything it works with, built from the settings: the same for the server and the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from anivoice.engine.cuda_streams import build_lanes
from anivoice.engine.devices import choose_device, num_usable_cores
from anivoice.engine.engine import Engine
from anivoice.engine.keep_warm import KeepWarmPolicy
from anivoice.engine.runner import TorchRunner, choose_dtype
from anivoice.voices.cache import VoiceCache
from anivoice.voices.library import VoiceLibrary

MEBIBYTE = 2**20
MAX_DEFAULT_THREADS = 8
MAX_CUDA_BATCH = 32
"""On the CPU streams are computed one by one: together they take nine tenths of the time, and all wait for the last."""


class RuntimeSettings(Protocol):
    """What a runtime is built by: `config.Settings`, which says what each means, or anything like it."""

    @property
    def weights_dir(self) -> Path: ...
    @property
    def device(self) -> str: ...
    @property
    def gpu_index(self) -> int | None: ...
    @property
    def precision(self) -> str: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def voice_cache_mb(self) -> int: ...
    @property
    def max_live_batch(self) -> int | None: ...
    @property
    def cuda_graphs(self) -> bool: ...
    @property
    def keep_warm(self) -> KeepWarmPolicy | None: ...


@dataclass(frozen=True)
class Runtime:
    """One device's engine, not yet started, and the voices it plays."""

    engine: Engine
    runner: TorchRunner
    library: VoiceLibrary
    voices: VoiceCache


def build_runtime(settings: RuntimeSettings) -> Runtime:
    """Raises InvalidParameter when the chosen device does not exist."""
    device = choose_device(settings.gpu_index, settings.device)
    library = VoiceLibrary(settings.weights_dir)
    voices = VoiceCache(library, settings.voice_cache_mb * MEBIBYTE)
    num_threads = settings.threads or min(num_usable_cores(), MAX_DEFAULT_THREADS)
    dtype = choose_dtype(device, settings.precision)
    max_batch = settings.max_live_batch or (MAX_CUDA_BATCH if device.type == "cuda" else 1)
    lanes = build_lanes(device, settings.cuda_graphs, max_batch)
    runner = TorchRunner(device, dtype, settings.weights_dir, num_threads, voices.evict_idle, lanes)
    keep_warm = settings.keep_warm or ("light" if device.type == "cuda" else "off")
    engine = Engine(runner, max_live_batch=max_batch, keep_warm=keep_warm)
    return Runtime(engine, runner, library, voices)

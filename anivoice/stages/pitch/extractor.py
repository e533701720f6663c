"""Which pitch methods are installed, and the pitch of a stretch of audio by the one that was chosen."""

import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from anivoice.checkpoints.file_stamp import Stamp, stamp_of
from anivoice.checkpoints.safe_pickle import float_state, load_torch_file
from anivoice.errors import MissingAsset
from anivoice.stages.pitch.contour import fit_frames, num_pitch_frames
from anivoice.stages.pitch.host_thread import compute_beside
from anivoice.stages.pitch.hybrid import mix_contours
from anivoice.stages.pitch.methods import PITCH_METHODS, PitchMethod, parse_pitch_algo
from anivoice.stages.stream_memory import StreamMemory

PitchEstimator = Callable[[Tensor], Tensor]
"""`[B, T]` float32 at 16 kHz on the extractor's device -> f0 in Hz `[B, T//160 + 1]`, 0 = unvoiced."""

Placing = Callable[[], PitchEstimator]


@runtime_checkable
class RememberingEstimator(Protocol):
    """A PitchEstimator that need not hear all of a stream's window again."""

    def __call__(self, samples: Tensor) -> Tensor: ...

    def stream(
        self, samples: Tensor, memory: StreamMemory, first_frame: int, first_wanted: int, num_ahead: int
    ) -> Tensor:
        """`[1, n]` -> f0 `[1, T]`, as `PitchExtractor.estimate_stream`."""
        ...


DEFAULT_HYBRID_WEIGHT = 0.33
REALTIME_PM = "pm (realtime)"
NOTHING_DONE: Mapping[str, Tensor] = {}


class PitchExtractor:
    """Every pitch method behind one call. Networks are loaded at their first use and kept.

    `weights_dir` may hold rmvpe.pt or rmvpe.safetensors; fcpe and crepe take the weights inside their packages.
    `dtype` is that of the rmvpe network; fcpe and crepe always compute in float32. `estimators` replaces methods by
    ready ones. Any thread may ask for anything; a network is loaded by the one that asks for it first.

    A file that is replaced is noticed by `require`, which reads it; from the next `estimate` on the new network is
    used. `before_drop` is called before the old one goes: a device may still be at its work.
    """

    def __init__(
        self,
        weights_dir: Path,
        device: torch.device,
        dtype: torch.dtype,
        estimators: Mapping[str, PitchEstimator] | None = None,
        before_drop: Callable[[], None] = lambda: None,
    ) -> None:
        self.weights_dir = weights_dir
        self.device = device
        self.dtype = dtype
        self._before_drop = before_drop
        self._estimators: dict[str, PitchEstimator] = dict(estimators or {})
        self._stamps: dict[str, Stamp] = {}
        self._renewed: dict[str, Placing] = {}
        self._reading = threading.Lock()
        self._placing = threading.Lock()

    def available(self, method: str) -> bool:
        """Whether `method` (or both methods of a hybrid) has its weights and its package. Raises InvalidParameter."""
        return all(self._problem(name) is None for name in parse_pitch_algo(method))

    def require(self, algo: str) -> None:
        """Raises MissingAsset if a method of `algo` lacks its weights or package, InvalidParameter if it is unknown.

        Reads weights that have been replaced since they were loaded; raises InvalidModelFile if they cannot be used.
        """
        for name in parse_pitch_algo(algo):
            problem = self._problem(name)
            if problem is not None:
                raise MissingAsset(problem)
            with self._reading:
                self._renew(name)

    def version(self, algo: str) -> Hashable:
        """Another one after weights of `algo` were replaced."""
        return tuple(self._stamps.get(name) for name in parse_pitch_algo(algo))

    def current(self, method: str) -> PitchEstimator:
        """What `estimate` uses for a single method. Raises as `estimate`."""
        return self._estimator(method)

    def default_method(self) -> str:
        """rmvpe if its weights are there, else fcpe."""
        return "rmvpe" if self.available("rmvpe") else "fcpe"

    def estimate(
        self,
        samples: Tensor,
        algo: str,
        f0_method_weight: float = DEFAULT_HYBRID_WEIGHT,
        realtime: bool = False,
        done: Mapping[str, Tensor] = NOTHING_DONE,
    ) -> Tensor:
        """`[T]` or `[B, T]` at 16 kHz -> f0 in Hz `[T//160 + 1]` or `[B, T//160 + 1]` float32, 0 = unvoiced.

        `algo` is a method or "hybrid[a+b]"; `f0_method_weight` 0..1 is the share of b. `realtime` chooses the frames
        that pm gives to a short window (SPEC 6.1); the other methods do not distinguish. `done`: contours that were
        computed already, by method. The result is on the
        extractor's device and never NaN. Raises InvalidParameter for an unknown method, MissingAsset for one whose
        weights or package are not installed, InvalidModelFile if its weights cannot be used.
        """
        estimators = self._estimators_of(algo, realtime)
        batch = self._batch(samples)
        contours = [done[name].to(self.device) if name in done else run(batch) for name, run in estimators.items()]
        f0 = _mixed(contours, f0_method_weight, num_pitch_frames(batch.shape[-1]))
        return f0 if samples.ndim > 1 else f0[0]

    def remembers(self, algo: str) -> bool:
        """Whether `estimate_stream` is there for `algo`: where computing is slow, on the CPU."""
        method = PITCH_METHODS.get(algo)
        return self.device.type == "cpu" and method is not None and method.remembers_on_cpu

    def estimate_stream(
        self, samples: Tensor, algo: str, memory: StreamMemory, first_frame: int, first_wanted: int, num_ahead: int
    ) -> Tensor:
        """f0 `[T]` of a window `[n]` of a stream that begins at its frame `first_frame`, from `first_wanted` to the
        window's end. What `memory` knows is not computed again; the next window will want f0 from `num_ahead` before
        this one's end. Raises as `estimate`.
        """
        estimator = self._estimator(algo)
        assert isinstance(estimator, RememberingEstimator)
        f0 = estimator.stream(self._batch(samples), memory, first_frame, first_wanted, num_ahead)
        return torch.nan_to_num(f0[0], nan=0.0, posinf=0.0, neginf=0.0)

    def begin_beside(self, samples: Tensor, algo: str) -> dict[str, Future[Tensor]]:
        """The methods of `algo` that compute a whole recording in one call are begun, each on a thread of its own. For
        `estimate` when they are done. Raises as `estimate`.
        """
        batch = self._batch(samples).cpu()
        estimators = self._estimators_of(algo, realtime=False)
        on_host = {name: estimate for name, estimate in estimators.items() if PITCH_METHODS[name].runs_on_host}
        return {name: compute_beside(estimate, batch) for name, estimate in on_host.items()}

    def _estimators_of(self, algo: str, realtime: bool) -> dict[str, PitchEstimator]:
        """By name. All, before any computes: a missing one should say so at once."""
        names = [REALTIME_PM if realtime and name == "pm" else name for name in parse_pitch_algo(algo)]
        return {name: self._estimator(name) for name in names}

    def _batch(self, samples: Tensor) -> Tensor:
        return samples.reshape(-1, samples.shape[-1]).to(self.device, torch.float32)

    def _estimator(self, name: str) -> PitchEstimator:
        with self._placing:
            return self._placed(name)

    def _placed(self, name: str) -> PitchEstimator:
        place = self._renewed.pop(name, None)
        if place is not None:
            self._before_drop()
            self._estimators[name] = place()
        if name not in self._estimators:
            method = "pm" if name == REALTIME_PM else name
            problem = self._problem(method)
            if problem is not None:
                raise MissingAsset(problem)
            stamp = self._stamp(name)
            self._estimators[name] = self._read(name)()
            if stamp:
                self._stamps[name] = stamp
        return self._estimators[name]

    def _renew(self, name: str) -> None:
        """Reads the weights again if they are others than those that were loaded."""
        known, stamp = self._stamps.get(name), self._stamp(name)
        if known is not None and stamp and stamp != known:
            self._renewed[name] = self._read(name)
            self._stamps[name] = stamp

    def _stamp(self, name: str) -> Stamp:
        """Empty for methods without weights, or when they are gone."""
        file = None if name == REALTIME_PM else self._weights_file(PITCH_METHODS[name])
        return stamp_of([file]) if file is not None and file.is_file() else ()

    def _problem(self, name: str) -> str | None:
        """One sentence that says what the method lacks and how to get it, None if it is ready."""
        if name in self._estimators:
            return None
        method = PITCH_METHODS[name]
        if method.package is not None and find_spec(method.package) is None:
            return (
                f"the pitch method {name} needs the package {method.package}: "
                f"install it with `pip install {method.pip_name}`"
            )
        file = self._weights_file(method)
        if method.weights_files and file is None:
            return (
                f"the pitch method {name} needs the file {method.weights_files[0]} in the weights folder, which is not "
                f"there: get it with `anivoice fetch {name}`, or choose another method"
            )
        if file is not None and not file.is_file():
            return (
                f"the pitch method {name} needs the file {file.name}, which the installed {method.package} "
                f"does not hold: install it again with `pip install --force-reinstall {method.pip_name}`"
            )
        return None

    def _weights_file(self, method: PitchMethod) -> Path | None:
        """None for a method without weights, and where the weights folder has none."""
        if method.bundled_weights is not None:
            return _bundled_file(method)
        files = (self.weights_dir / name for name in method.weights_files)
        return next((file for file in files if file.is_file()), None)

    def _read(self, name: str) -> Placing:
        """The method with its weights in host memory; calling it puts it on the device."""
        match name:
            case "rmvpe":
                return self._read_rmvpe()
            case "fcpe":
                return self._read_fcpe()
            case "crepe" | "crepe-tiny":
                return self._read_crepe(name)
            case "harvest" | "dio":
                from anivoice.stages.pitch.world import WorldPitch

                return lambda: WorldPitch(name, median=name == "harvest")
            case _:
                from anivoice.stages.pitch.praat import PraatPitch

                return lambda: PraatPitch(realtime=name == REALTIME_PM)

    def _read_rmvpe(self) -> Placing:
        from anivoice.models.rmvpe import build_rmvpe
        from anivoice.stages.pitch.networks import SaliencePitch

        file = self._weights_file(PITCH_METHODS["rmvpe"])
        assert file is not None
        network = build_rmvpe(_load_state(file))

        def place() -> PitchEstimator:
            network.to(self.device).set_network_dtype(self.dtype)
            return SaliencePitch(network)

        return place

    def _read_fcpe(self) -> Placing:
        from anivoice.models.fcpe import build_fcpe
        from anivoice.stages.pitch.networks import FcpePitch

        file = _bundled_file(PITCH_METHODS["fcpe"])
        content = load_torch_file(file)
        model = content.get("model")
        state = float_state(model if isinstance(model, dict) else {}, file)
        network = build_fcpe(state)
        return lambda: FcpePitch(network.to(self.device))

    def _read_crepe(self, name: str) -> Placing:
        from anivoice.models.crepe import build_crepe
        from anivoice.stages.pitch.crepe import CrepePitch

        network = build_crepe(_load_state(_bundled_file(PITCH_METHODS[name])))
        return lambda: CrepePitch(network.to(self.device))


def _mixed(contours: list[Tensor], weight: float, num_frames: int) -> Tensor:
    """One contour of one or two, `[B, num_frames]`, without what is no number."""
    contours = [fit_frames(contour, num_frames) for contour in contours]
    f0 = contours[0] if len(contours) == 1 else mix_contours(contours[0], contours[1], weight)
    return torch.nan_to_num(f0.float(), nan=0.0, posinf=0.0, neginf=0.0)


def _load_state(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        from anivoice.checkpoints.safe_tensors import load_safetensors

        return load_safetensors(file)[0]
    return float_state(load_torch_file(file), file)


def _bundled_file(method: PitchMethod) -> Path:
    """Where the package keeps the weights. The package itself is not imported: the networks are ours."""
    spec = None if method.package is None else find_spec(method.package)
    locations = (spec.submodule_search_locations if spec else None) or [""]
    return Path(locations[0]) / "assets" / str(method.bundled_weights)

"""`anivoice convert IN OUT --ray [ADDRESS]`: a folder through Ray Data, an engine to each of its actors.

IN and OUT may be addresses of object storage, as fsspec writes them: `s3://bucket/recordings`. What OUT holds already
is left alone, so a run that was stopped goes on when the command is given again.
"""

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from rich.console import Console
from rich.progress import Progress as ProgressBars

from anivoice.audio.files import OutputFormat, check_output, resolve_output_rate
from anivoice.commands.convert import AUDIO_SUFFIXES
from anivoice.config import Settings
from anivoice.engine.batch import Job
from anivoice.engine.runtime import build_runtime
from anivoice.errors import AnivoiceError, InvalidParameter, Unavailable
from anivoice.offline import convert_file, resolve
from anivoice.parameters import ConversionParameters
from anivoice.process import configure_process

LOCAL = "local"
"""In place of an address: a Ray of this command's own, on this machine."""

FINISHING_PREFIX = ".anivoice-"
"""Of files in OUT that are still being written."""


@dataclass(frozen=True)
class FolderPlan:
    """What is to be done: `pairs` of addresses; `num_done` files have their result already."""

    pairs: tuple[tuple[str, str], ...]
    num_done: int


def plan_folder(source: str, destination: str, output_format: OutputFormat, overwrite: bool) -> FolderPlan:
    """Raises InvalidParameter when IN holds no audio, or two of its files would have the same result."""
    files, root = fsspec.core.url_to_fs(source)
    results, results_root = fsspec.core.url_to_fs(destination)
    if not files.isdir(root):
        raise InvalidParameter(f"IN: --ray takes a folder, and {source} is none")
    sources = sorted(path for path in files.find(root) if PurePosixPath(path).suffix.lower() in AUDIO_SUFFIXES)
    if not sources:
        raise InvalidParameter(f"IN: there are no audio files in {source}")
    there = {PurePosixPath(path) for path in results.find(results_root)} if results.exists(results_root) else set()
    targets: dict[PurePosixPath, str] = {}
    for path in sources:
        target = PurePosixPath(results_root) / PurePosixPath(path).relative_to(root).with_suffix(f".{output_format}")
        if target in targets:
            raise InvalidParameter(f"IN: {targets[target]} and {path} would have the same result {target}; rename one")
        targets[target] = path
    due = {target: path for target, path in targets.items() if overwrite or target not in there}
    pairs = tuple((files.unstrip_protocol(path), results.unstrip_protocol(str(target))) for target, path in due.items())
    return FolderPlan(pairs, len(targets) - len(pairs))


@dataclass(frozen=True)
class ActorPool:
    """`size` actors; what each of them is given."""

    size: int
    num_cpus: float
    num_gpus: float


def plan_pool(resources: Mapping[str, float], num_workers: int | None, num_files: int) -> ActorPool:
    """An actor to each GPU, or without any to each core. More actors than GPUs share them; none has more than one.

    Actors on GPUs ask for no cores: Ray would let fewer of them in than there are GPUs.
    """
    num_gpus, num_cpus = int(resources.get("GPU", 0)), max(int(resources.get("CPU", 1)), 1)
    size = max(min(num_workers or num_gpus or num_cpus, num_files), 1)
    if num_gpus:
        return ActorPool(size, 0, min(num_gpus / size, 1))
    # Ray takes parts of a core, and several cores only as a whole number.
    return ActorPool(size, num_cpus // size if num_cpus >= size else num_cpus / size, 0)


Arguments = tuple[Settings, ConversionParameters, OutputFormat, int | None]
"""Of a FileConverter."""


class FileConverter:
    """An actor: an engine, a voice, and one file after another."""

    def __init__(
        self,
        settings: Settings,
        parameters: ConversionParameters,
        output_format: OutputFormat,
        output_rate_hz: int | None,
    ) -> None:
        configure_process()
        self._exits = ExitStack()
        runtime = build_runtime(settings)
        runtime.engine.start()
        self._exits.callback(runtime.engine.stop)
        name = parameters.model_name or runtime.library.default_name()
        voice = self._exits.enter_context(runtime.voices.using(name, parameters.index_rate > 0))
        rate_hz = resolve_output_rate(output_format, output_rate_hz, voice.config.sample_rate_hz)
        self._engine, self._parameters, self._pitch = runtime.engine, parameters, runtime.runner.pitch
        self._task = replace(
            resolve(voice, parameters, self._pitch),
            output_format=output_format,
            output_rate_hz=rate_hz,
            max_seconds=settings.max_audio_seconds,
            marks_synthetic=settings.mark_synthetic,
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with `source` and `target` -> the same and `error`, which is empty if the file was converted."""
        try:
            self.convert(row["source"], row["target"])
        except (AnivoiceError, OSError) as error:
            return {**row, "error": str(error) or type(error).__name__}
        return {**row, "error": ""}

    def convert(self, source: str, target: str) -> None:
        """Nothing appears under the target's name before it is whole. Raises AnivoiceError, OSError."""
        task = replace(self._task, seed=resolve(self._task.voice, self._parameters, self._pitch).seed)
        with tempfile.TemporaryDirectory() as folder:
            recording, result = Path(folder) / "recording", Path(folder) / "result"
            with fsspec.open(source, "rb") as remote, recording.open("wb") as local:
                shutil.copyfileobj(remote, local)
            with recording.open("rb") as read, result.open("wb+") as write:
                convert_file(self._engine, task, read, write, Job())
            _put(result, target)

    def close(self) -> None:
        """Stops the engine."""
        self._exits.close()


def _put(result: Path, target: str) -> None:
    files, path = fsspec.core.url_to_fs(target)
    place = PurePosixPath(path)
    files.makedirs(str(place.parent), exist_ok=True)
    unfinished = str(place.with_name(f"{FINISHING_PREFIX}{place.name}"))
    files.put_file(str(result), unfinished)
    files.mv(unfinished, path)


def convert_folder_on_ray(
    settings: Settings,
    parameters: ConversionParameters,
    source: str,
    destination: str,
    output_format: str | None,
    output_rate_hz: int | None,
    overwrite: bool,
    quiet: bool,
    address: str,
    num_workers: int | None,
) -> int:
    """Converts a folder. Returns 1 if a file failed (the others are still done), else 0.

    Raises InvalidParameter for folders that cannot be meant, Unavailable without Ray, AnivoiceError when it fails.
    """
    fmt = check_output(output_format or "wav", 48000)
    plan = plan_folder(source, destination, fmt, overwrite)
    if plan.num_done:
        print(f"{plan.num_done} files have a result already (--overwrite converts them again)", file=sys.stderr)
    if not plan.pairs:
        return 0
    arguments = (settings, parameters, fmt, output_rate_hz)
    failed = 0
    with ProgressBars(console=Console(stderr=True), disable=quiet) as bars:
        bar = bars.add_task("files", total=len(plan.pairs))
        for row in _converted(plan.pairs, arguments, address, num_workers):
            bars.advance(bar)
            if row["error"]:
                failed += 1
                print(f"{row['source']}: {row['error']}", file=sys.stderr)
    print(f"{len(plan.pairs) - failed} of {len(plan.pairs)} files converted", file=sys.stderr)
    return int(failed > 0)


def _converted(
    pairs: Sequence[tuple[str, str]], arguments: "Arguments", address: str, num_workers: int | None
) -> Iterator[dict[str, Any]]:
    """Rows as they come out of the cluster's actors. A worker that dies is replaced, and its file done again."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise Unavailable("--ray needs Ray: install it with `pip install anivoice[ray]`") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    whose = {} if address == LOCAL else {"address": address}
    ray.init(**whose, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    try:
        pool = plan_pool(ray.cluster_resources(), num_workers, len(pairs))
        items = ray.data.from_items([{"source": s, "target": t} for s, t in pairs], override_num_blocks=len(pairs))
        settings = arguments[0].model_copy(update={"threads": arguments[0].threads or max(int(pool.num_cpus), 1)})
        rows = items.map(
            FileConverter,
            fn_constructor_args=(settings, *arguments[1:]),
            compute=ray.data.ActorPoolStrategy(size=pool.size),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus or None,
        )
        yield from rows.iter_rows()
    except ray.exceptions.RayError as error:
        raise AnivoiceError(f"Ray gave up: {error}") from error
    finally:
        ray.shutdown()

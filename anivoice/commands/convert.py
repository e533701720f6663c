"""`anivoice convert IN OUT`: files and folders, without a server."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as ProgressBars
from rich.progress import TaskID

from anivoice.audio.files import OutputFormat, check_output, resolve_output_rate
from anivoice.config import Settings
from anivoice.engine.batch import Job
from anivoice.engine.runtime import Runtime, build_runtime
from anivoice.errors import AnivoiceError, InvalidParameter
from anivoice.offline import ConversionTask, Progress, convert_file, resolve
from anivoice.parameters import ConversionParameters

PLAIN_SUFFIXES = (
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".caf",
    ".w64",
    ".rf64",
)
PHONE_SUFFIXES = (
    ".m4a",
    ".mp4",
    ".m4b",
    ".mov",
    ".3gp",
    ".aac",
    ".webm",
    ".weba",
    ".mka",
    ".wma",
    ".wv",
    ".ac3",
    ".amr",
)
AUDIO_SUFFIXES = frozenset((*PLAIN_SUFFIXES, *PHONE_SUFFIXES))
"""What of a folder is converted. A single file may be called as it likes."""


def convert_paths(
    settings: Settings,
    parameters: ConversionParameters,
    source: Path,
    destination: Path,
    output_format: str | None,
    output_rate_hz: int | None,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Converts a file or a folder. Returns 1 if a file failed (the others are still done), else 0."""
    pairs = list(plan_files(source, destination, output_format, overwrite))
    runtime = build_runtime(settings)
    runtime.engine.start()
    try:
        name = parameters.model_name or runtime.library.default_name()
        parameters = parameters.model_copy(update={"model_name": name})
        with runtime.voices.using(str(parameters.model_name), parameters.index_rate > 0) as voice:
            task = resolve(voice, parameters, runtime.runner.pitch)
            print(f"voice {voice.name}, pitch {task.pitch_algo}, seed {task.seed}", file=sys.stderr)
            task = replace(task, marks_synthetic=settings.mark_synthetic)
            return _convert_all(runtime, task, pairs, output_rate_hz, settings.max_audio_seconds, quiet)
    finally:
        runtime.engine.stop()


def plan_files(
    source: Path, destination: Path, output_format: str | None, overwrite: bool
) -> Iterator[tuple[Path, Path, OutputFormat]]:
    """Input, output and format of every file. Raises InvalidParameter when IN or OUT cannot be meant."""
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
        if not files:
            raise InvalidParameter(f"IN: there are no audio files in {source}")
        fmt = check_output(output_format or "wav", 48000)
        pairs = [(path, target, fmt) for path, target in _targets(files, source, destination, fmt)]
    elif source.is_file():
        target = destination / f"{source.stem}.{output_format or 'wav'}" if destination.is_dir() else destination
        fmt = check_output(output_format or target.suffix.lstrip(".").lower() or "wav", 48000)
        pairs = [(source, target, fmt)]
    else:
        raise InvalidParameter(f"IN: there is no file or folder {source}")
    targets = [target for _, target, _ in pairs]
    if len(set(targets)) < len(targets):
        raise InvalidParameter("IN: two files would have the same output; rename one")
    for path, target, _ in pairs:
        if target.exists() and (not overwrite or target.samefile(path)):
            raise InvalidParameter(f"OUT: {target} exists; choose another name, or --overwrite")
    return iter(pairs)


def _targets(files: list[Path], source: Path, destination: Path, fmt: str) -> Iterator[tuple[Path, Path]]:
    """Where each file's result goes. Where two differ only in their endings, the endings stay: `x.mp3.wav`."""
    plain = {path: destination / path.relative_to(source).with_suffix(f".{fmt}") for path in files}
    counts = Counter(plain.values())
    for path, target in plain.items():
        if counts[target] > 1:
            target = target.with_name(f"{path.name}.{fmt}")
            print(
                f"{path}: its result is called {target.name}, for others differ only in their endings", file=sys.stderr
            )
        yield path, target


def _convert_all(
    runtime: Runtime,
    task: ConversionTask,
    pairs: list[tuple[Path, Path, OutputFormat]],
    output_rate_hz: int | None,
    max_seconds: float,
    quiet: bool,
) -> int:
    failed = 0
    with ProgressBars(console=Console(stderr=True), disable=quiet) as bars:
        for source, target, fmt in pairs:
            bar = bars.add_task(escape(source.name), total=1.0)
            rate_hz = resolve_output_rate(fmt, output_rate_hz, task.voice.config.sample_rate_hz)
            one = replace(task, output_format=fmt, output_rate_hz=rate_hz, max_seconds=max_seconds)
            try:
                _convert_one(runtime, one, source, target, partial(_show, bars, bar))
            except (AnivoiceError, OSError) as error:
                failed += 1
                print(f"{source}: {error}", file=sys.stderr)
    if len(pairs) > 1:
        print(f"{len(pairs) - failed} of {len(pairs)} files converted", file=sys.stderr)
    return int(failed > 0)


def _show(bars: ProgressBars, bar: TaskID, done: float) -> None:
    bars.update(bar, completed=done)


def _convert_one(runtime: Runtime, task: ConversionTask, source: Path, target: Path, progress: Progress) -> None:
    """Writes beside the target first, so that an interrupted conversion leaves no half file under its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    job = Job()
    try:
        with source.open("rb") as read, unfinished.open("wb+") as write:
            report = convert_file(runtime.engine, task, read, write, job, progress)
        unfinished.replace(target)
        for note in report.notes:
            print(f"{source}: {note}", file=sys.stderr)
    finally:
        job.cancel()
        unfinished.unlink(missing_ok=True)

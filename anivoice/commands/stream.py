"""`anivoice stream IN OUT`: a file through a server's live path, as fast as it was spoken or as fast as it goes."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress as ProgressBars

from anivoice.audio.files import MAX_RATE_HZ, MIN_RATE_HZ
from anivoice.client.pacing import DelayMeter, at_their_time, percentiles
from anivoice.client.pcm import SAMPLE_BYTES
from anivoice.client.stream_client import StreamClient
from anivoice.config import Settings
from anivoice.errors import InvalidParameter, UndecodableAudio
from anivoice.live.parameters import StreamParameters
from anivoice.parameters import ConversionParameters

Pace = Literal["realtime", "fast"]
WIRE_FORMAT = "pcm_f32le"
MESSAGE_MS = {"realtime": 20, "fast": 500}
MAX_FLUSH_SECONDS = 3600.0


@dataclass
class Streamed:
    """What a run showed."""

    input_seconds: float
    latency_ms: dict[str, float]
    preset: object = None
    meter: DelayMeter = field(default_factory=DelayMeter)
    wall_s: float = 0.0
    num_output_samples: int = 0
    delay_ms: dict[str, float] = field(default_factory=dict)


def stream_file(
    source: Path,
    destination: Path,
    values: Mapping[str, object],
    pace: Pace,
    server: tuple[str, str | None] | tuple[Settings, ConversionParameters],
    overwrite: bool,
    quiet: bool,
) -> int:
    """Sends the file through the server (URL, key), or through an own one with these settings and defaults.

    `values`: conversion parameters and stream settings that were given. Returns the exit code 0. Raises
    InvalidParameter when IN or OUT cannot be meant, and what the stream raises.
    """
    samples, rate_hz = _read(source)
    if destination.exists() and (not overwrite or destination.samefile(source)):
        raise InvalidParameter(f"OUT: {destination} exists; choose another name, or --overwrite")
    given = StreamParameters().changed(
        {"mode": "live" if pace == "realtime" else "reliable", **values, "sample_rate": rate_hz, "format": WIRE_FORMAT}
    )
    sent = given.model_dump(exclude_unset=True)
    with ProgressBars(console=Console(stderr=True), disable=quiet) as bars:
        bar = bars.add_task(source.name, total=len(samples) / rate_hz)

        def run(base_url: str, api_key: str | None) -> Streamed:
            with _Output(destination, given.wire_output[1]) as output:
                work = _stream(base_url, api_key, sent, samples, pace, output, lambda s: bars.update(bar, completed=s))
                return asyncio.run(work)

        streamed = _with_server(server, run)
    _report(streamed, pace)
    return 0


def _with_server(
    server: tuple[str, str | None] | tuple[Settings, ConversionParameters], run: Callable[[str, str | None], Streamed]
) -> Streamed:
    if isinstance(server[0], str):
        return run(server[0], server[1] if isinstance(server[1], str) else None)
    from anivoice.server.background import BackgroundServer

    assert isinstance(server[1], ConversionParameters)
    with BackgroundServer(server[0], server[1]) as own:
        return run(own.base_url, None)


def _read(source: Path) -> tuple[NDArray[np.float32], int]:
    """Mono samples and their rate. Raises InvalidParameter, UndecodableAudio."""
    if not source.is_file():
        raise InvalidParameter(f"IN: there is no file {source}")
    try:
        samples, rate_hz = soundfile.read(source, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError) as error:
        raise UndecodableAudio(f"IN: {source} is not audio that can be decoded ({error})") from error
    if len(samples) == 0 or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise UndecodableAudio(
            f"IN: {source} has {len(samples)} samples at {rate_hz} Hz; give audio of {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    return samples.mean(axis=1, dtype=np.float32), int(rate_hz)


class _Output:
    """Written beside the target first, so that an interrupted stream leaves no half file under its name."""

    def __init__(self, target: Path, rate_hz: int) -> None:
        fmt = target.suffix.lstrip(".").upper() or "WAV"
        if fmt not in soundfile.available_formats():
            raise InvalidParameter(f"OUT: {target.name} has no ending that is written; call it .wav, .flac or .ogg")
        self._target = target
        self._unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._unfinished.open("wb+")
        self._sound = soundfile.SoundFile(self._file, "w", rate_hz, 1, format=fmt)

    def __enter__(self) -> "_Output":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._sound.close()
        self._file.close()
        if kind is None:
            self._unfinished.replace(self._target)
        self._unfinished.unlink(missing_ok=True)

    def write(self, samples: NDArray[np.float32]) -> None:
        self._sound.write(samples)


async def _stream(
    base_url: str,
    api_key: str | None,
    values: Mapping[str, object],
    samples: NDArray[np.float32],
    pace: Pace,
    output: _Output,
    progress: Callable[[float], None],
) -> Streamed:
    meter = DelayMeter()
    async with StreamClient.connect(base_url, values, api_key, on_event=meter.note, keep_marks=True) as stream:
        meter.watch(stream)
        preset = (stream.ready or {}).get("preset")
        streamed = Streamed(len(samples) / stream.input_rate_hz, stream.latency_ms, preset, meter)
        tasks = {
            asyncio.create_task(_send(stream, streamed, samples, pace)),
            asyncio.create_task(_receive(stream, streamed, output, progress)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
    return streamed


async def _send(stream: StreamClient, streamed: Streamed, samples: NDArray[np.float32], pace: Pace) -> None:
    """Sends everything and waits until it has come back; measures."""
    rate_hz = stream.input_rate_hz
    message_samples = rate_hz * MESSAGE_MS[pace] // 1000
    started_s = time.perf_counter()
    spoken_from_s = started_s if pace == "realtime" else started_s - len(samples) / rate_hz
    async for part in at_their_time(len(samples), message_samples, rate_hz, spoken_from_s):
        await stream.send(samples[part])
    sent_s = time.perf_counter()
    await stream.flush(MAX_FLUSH_SECONDS)
    streamed.wall_s = time.perf_counter() - started_s
    if pace == "realtime":
        block_ms = stream.latency_ms.get("block", 0.0)
        delays = streamed.meter.delays_ms(started_s, sent_s, SAMPLE_BYTES[WIRE_FORMAT], block_ms)
        streamed.delay_ms = percentiles(delays)
    await stream.close()


async def _receive(
    stream: StreamClient, streamed: Streamed, output: _Output, progress: Callable[[float], None]
) -> None:
    async for samples in stream.samples():
        await asyncio.to_thread(output.write, samples)
        streamed.num_output_samples += len(samples)
        progress(streamed.num_output_samples / stream.output_rate_hz)


def _report(streamed: Streamed, pace: Pace) -> None:
    def told(figures: Mapping[str, object], unit: str = "ms") -> str:
        numbers = ((name, ms) for name, ms in figures.items() if isinstance(ms, int | float))
        return ", ".join(f"{name} {ms:.1f} {unit}" for name, ms in numbers)

    seconds = streamed.input_seconds
    print(f"{seconds:.2f} s of audio in {streamed.wall_s:.2f} s", file=sys.stderr)
    print(f"preset: {streamed.preset}", file=sys.stderr)
    print(f"promised delay: {told(streamed.latency_ms)}", file=sys.stderr)
    if streamed.delay_ms:
        print(f"measured delay: {told(streamed.delay_ms)}", file=sys.stderr)
    compute_ms = streamed.meter.stats.get("compute_ms")
    if isinstance(compute_ms, dict):
        print(f"computing per block: {told(compute_ms)}", file=sys.stderr)
    print(f"dropped blocks: {streamed.meter.num_dropped_blocks}", file=sys.stderr)

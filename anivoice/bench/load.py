"""A load test: a server in this process, its clients in another, figures of both."""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from anivoice.audio.files import to_int16
from anivoice.bench.clients import ENDED, SETTLED, LoadPlan
from anivoice.bench.probe import Probe
from anivoice.bench.synthetic import synthetic_speech
from anivoice.commands.options import WINDOW_OPTIONS, given_options
from anivoice.config import Settings
from anivoice.engine.runtime import Runtime
from anivoice.errors import AnivoiceError, InvalidParameter
from anivoice.live.parameters import StreamParameters
from anivoice.parameters import ConversionParameters
from anivoice.server.background import BackgroundServer

RATE_HZ = 48000
SPEECH_SECONDS = 20.0
SETTLING_SECONDS = 2.0
MAX_WARM_UP_SECONDS = 600.0


Figures = dict[str, object]


@dataclass(frozen=True)
class LoadOptions:
    """What is measured how. `parameters` are those of every session but for the voice."""

    num_sessions: int
    seconds: float
    message_ms: float
    voices: Sequence[str]
    parameters: Mapping[str, object]


def load_options(arguments: argparse.Namespace, voices: Sequence[str], parameters: Mapping[str, object]) -> LoadOptions:
    """From the command line. Raises InvalidParameter for what makes no sense."""
    if arguments.sessions < 1 or not voices or arguments.seconds <= 0 or arguments.message_ms <= 0:
        raise InvalidParameter("--sessions and --voices must be at least 1, --seconds and --message-ms above 0")
    given = given_options(arguments, (*WINDOW_OPTIONS, "mode"))
    values = StreamParameters().changed({**parameters, **given}).model_dump(exclude_unset=True)
    return LoadOptions(arguments.sessions, arguments.seconds, arguments.message_ms, voices, values)


@dataclass
class LoadTest:
    """A server that runs, and what is needed to load it."""

    server: BackgroundServer
    probe: Probe
    audio_path: Path
    memory_before_mb: float

    def run(self, options: LoadOptions, num_sessions: int) -> Figures:
        """The figures of one load, of clients and server together. Raises AnivoiceError if the clients failed."""
        voices = options.voices
        sessions = [
            {**options.parameters, "model_name": voices[number % len(voices)], "sample_rate": RATE_HZ, "seed": number}
            for number in range(num_sessions)
        ]
        plan = LoadPlan(
            self.server.base_url,
            sessions,
            str(self.audio_path),
            RATE_HZ,
            options.seconds,
            SETTLING_SECONDS,
            options.message_ms,
        )
        server: Figures = {}
        told = {SETTLED: self.probe.reset, ENDED: lambda: server.update(self.probe.figures())}
        watching = self.server.call(self.probe.watch_loop())
        try:
            clients = _run_clients(plan, told)
        finally:
            watching.cancel()
        server = server or self.probe.figures()
        memory_mb = float(str(server["host_memory_mb"])) - self.memory_before_mb
        return {
            "sessions": num_sessions,
            "clients": clients,
            "server": server,
            "memory_per_session_mb": memory_mb / num_sessions,
        }


@contextmanager
def load_test(
    settings: Settings, runtime: Runtime, voice_name: str, num_sessions: int, max_load: float | None = None
) -> Iterator[LoadTest]:
    """A server, warm with that voice, with room for `num_sessions`. `max_load`: of the admission, None: as it is."""
    settings = settings.model_copy(update={"max_sessions": num_sessions + 8})
    server = BackgroundServer(settings, ConversionParameters(model_name=voice_name), runtime)
    probe = Probe(runtime.engine, server.state, max_load)
    with tempfile.TemporaryDirectory(prefix="anivoice-") as folder, server:
        audio_path = Path(folder) / "speech.npy"
        np.save(audio_path, to_int16(synthetic_speech(SPEECH_SECONDS, RATE_HZ)))
        _wait_until_warm(server)
        yield LoadTest(server, probe, audio_path, psutil.Process().memory_info().rss / 2**20)


def machine(runtime: Runtime) -> Figures:
    """On what it was measured."""
    return {
        "device": str(runtime.runner.device),
        "threads": runtime.runner.num_threads or torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "torch": torch.__version__,
    }


def _wait_until_warm(server: BackgroundServer) -> None:
    warm_up, until_s = server.state.warm_up, time.monotonic() + MAX_WARM_UP_SECONDS
    while warm_up.state in ("waiting", "running") and time.monotonic() < until_s:
        time.sleep(0.05)
    if warm_up.state != "done":
        raise AnivoiceError(f"the server did not become ready: {warm_up.problem or 'the warm-up takes too long'}")


def _run_clients(plan: LoadPlan, told: Mapping[str, Callable[[], None]]) -> Figures:
    """The clients' figures. What they say meanwhile is `told` by calls."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "anivoice.bench.clients"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(plan)))
        process.stdin.close()
        lines = []
        for line in process.stdout:
            lines.append(line)
            told.get(line.strip(), _nothing)()
        if process.wait() != 0:
            errors.seek(0)
            raise AnivoiceError("the clients failed: " + "".join(errors.readlines()[-1:]).strip())
    figures: Figures = json.loads(lines[-1])
    return figures


def _nothing() -> None: ...

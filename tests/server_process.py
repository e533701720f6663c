"""`anivoice serve` as a process of its own, with the small voices of the tests, and what it costs from the outside."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from conformance import OWN_VECTORS

READY = re.compile(r"is ready on http://127\.0\.0\.1:(\d+)")
WARM = re.compile(r" warm: ")
SPEECH = OWN_VECTORS / "audio" / "speech_short_16k.wav"


def make_weights(folder: Path) -> Path:
    """alice (v1, f0), whisper (v1, no f0) and the content encoder."""
    for name, file in {"alice": "v1_f0_40k", "whisper": "v1_nof0_40k"}.items():
        shutil.copyfile(OWN_VECTORS / "synth" / f"{file}.pth", folder / f"{name}.pth")
    shutil.copytree(OWN_VECTORS / "hubert" / "tiny12_hf_safetensors", folder / "contentvec")
    return folder


@dataclass
class ServerProcess:
    """`log` grows while it runs."""

    process: subprocess.Popen[str]
    port: int
    log: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def costs(self) -> tuple[int, int, float]:
        """Open files and connections, threads, resident memory in MiB."""
        process = psutil.Process(self.process.pid)
        return process.num_fds(), process.num_threads(), process.memory_info().rss / 2**20

    def read_log(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)


@contextmanager
def running_server(weights_dir: Path, *options: str) -> Iterator[ServerProcess]:
    """Warm when it is given; ended, if it has not ended itself, at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANIVOICE_")}
    environment |= {"MODEL_NAME": "whisper", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "anivoice", "serve", "--port", "0", "--device", "cpu", "--threads", "1"]
    command += ["--weights-dir", str(weights_dir), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield _wait_until_warm(process)
        finally:
            process.kill()


def _wait_until_warm(process: subprocess.Popen[str]) -> ServerProcess:
    assert process.stderr is not None
    told, port = "", None
    for line in process.stderr:
        told += line
        port = READY.search(line) or port
        if port is not None and WARM.search(told):
            server = ServerProcess(process, int(port.group(1)))
            threading.Thread(target=server.read_log, daemon=True).start()
            return server
    raise AssertionError(told)

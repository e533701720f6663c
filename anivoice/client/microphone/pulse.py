"""Devices by PulseAudio, or by PipeWire in its place, with their own small programs: pactl, parec, pacat.

PortAudio reaches them through ALSA only: it cannot name one of their devices, and its callbacks come in bursts.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from anivoice.client.microphone.devices import Device, Direction, Samples
from anivoice.errors import Unavailable

PROGRAMS = ("pactl", "parec", "pacat")
RATE_HZ = 48000
SAMPLE_BYTES = 4
GRAIN = 480
LATENCY_MS: dict[Direction, int] = {"input": 20, "output": 40}
PIPE_BYTES = 4096
F_SETPIPE_SZ = 1031
MAX_CALL_S = 5.0
MAX_SILENT_S = 4.0
"""A sink that was asleep needs two seconds to begin."""


def has_pulse() -> bool:
    """True where the programs are and a server answers."""
    if not all(shutil.which(program) for program in PROGRAMS):
        return False
    try:
        pactl("info")
    except Unavailable:
        return False
    return True


def pactl(*arguments: str) -> str:
    """What it prints. Raises Unavailable with what it says."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(  # noqa: S603
            ["pactl", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=MAX_CALL_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"pactl cannot be run ({error})") from error
    if done.returncode:
        raise Unavailable(f"pactl {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout


def read_devices(listing: str, direction: Direction, default_key: str) -> Iterator[Device]:
    """From `pactl list sinks` or `pactl list sources`. A sink's monitor comes last: it is no microphone."""
    keys = [line.partition(":")[2].strip() for line in listing.splitlines() if line.startswith("\tName:")]
    names = [line.partition(":")[2].strip() for line in listing.splitlines() if line.startswith("\tDescription:")]
    pairs = sorted(zip(keys, names, strict=True), key=lambda pair: pair[0].endswith(".monitor"))
    for key, name in pairs:
        yield Device(name, key, direction, key == default_key)


class PulseSystem:
    """The sinks and sources of the sound server."""

    def devices(self, direction: Direction) -> list[Device]:
        kind = "source" if direction == "input" else "sink"
        default = next((line for line in pactl("info").splitlines() if line.startswith(f"Default {kind.title()}:")), "")
        return list(read_devices(pactl("list", f"{kind}s"), direction, default.partition(":")[2].strip()))

    def open_input(self, device: Device, take: Callable[[Samples], None]) -> "PulsePort":
        return PulsePort(["parec"], device, lambda port: _record(port, take))

    def open_output(self, device: Device, give: Callable[[int], Samples]) -> "PulsePort":
        return PulsePort(["pacat", "--playback"], device, lambda port: _play(port, give))

    def refresh(self) -> None:
        """It is asked anew every time."""


class PulsePort:
    """One of the programs, and the thread that reads from or writes to it."""

    rate_hz = RATE_HZ

    def __init__(self, program: Sequence[str], device: Device, work: Callable[["PulsePort"], None]) -> None:
        self.latency_s = LATENCY_MS[device.direction] / 1000
        self.last_call_s = time.monotonic()
        options = ["--raw", f"--device={device.key}", f"--rate={RATE_HZ}", "--channels=1", "--format=float32le"]
        options += [f"--latency-msec={LATENCY_MS[device.direction]}", "--client-name=anivoice"]
        is_input = device.direction == "input"
        try:
            self.process = subprocess.Popen(  # noqa: S603
                [*program, *options],
                stdin=None if is_input else subprocess.PIPE,
                stdout=subprocess.PIPE if is_input else None,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"{program[0]} cannot be run ({error})") from error
        self._thread = threading.Thread(target=work, args=(self,), name=f"anivoice-{device.direction}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None and time.monotonic() - self.last_call_s < MAX_SILENT_S

    def close(self) -> None:
        """The thread ends with the program."""
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _record(port: PulsePort, take: Callable[[Samples], None]) -> None:
    assert port.process.stdout is not None
    rest = b""
    while data := os.read(port.process.stdout.fileno(), 2**16):
        port.last_call_s = time.monotonic()
        data = rest + data
        whole = len(data) - len(data) % SAMPLE_BYTES
        rest = data[whole:]
        take(np.frombuffer(data[:whole], "<f4"))


def _play(port: PulsePort, give: Callable[[int], Samples]) -> None:
    """The pipe holds little, so that writing waits until the sound is wanted."""
    assert port.process.stdin is not None
    pipe = port.process.stdin.fileno()
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
    try:
        while True:
            data = memoryview(give(GRAIN).astype("<f4").tobytes())
            while data:
                data = data[os.write(pipe, data) :]
            port.last_call_s = time.monotonic()
    except BrokenPipeError:
        return

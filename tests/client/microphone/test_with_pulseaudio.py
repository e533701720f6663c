"""The microphone client on a real sound server, with a virtual microphone that it made."""

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from client.conftest import EchoServer
from client.microphone.waiting import until

from anivoice.client.microphone.devices import Device
from anivoice.client.microphone.microphone import Choice, Microphone
from anivoice.client.microphone.pulse import PulseSystem, has_pulse, pactl
from anivoice.client.microphone.virtual import make_virtual_microphone, remove_virtual_microphone, sink_key

pytestmark = pytest.mark.skipif(
    not all(shutil.which(program) for program in ("pulseaudio", "pactl", "parec", "pacat")),
    reason="needs pulseaudio and pulseaudio-utils",
)
RATE_HZ = 48000
TONE_HZ = 1000
HEARD_SAMPLES = 2400
"""Short, for a busy machine leaves gaps."""
NAME = "Test voice"


@pytest.fixture
def sound_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PulseAudio of our own with a room (what is played there, a microphone hears)."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    for name, value in {"XDG_RUNTIME_DIR": runtime, "XDG_CONFIG_HOME": tmp_path, "HOME": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    modules = ["module-native-protocol-unix", "module-null-sink sink_name=room sink_properties=device.description=Room"]
    command = ["pulseaudio", *options, *(f"--load={module}" for module in modules)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline_s = time.monotonic() + 30
            while not has_pulse() and time.monotonic() < deadline_s:
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def play_tone() -> Callable[[int], np.ndarray]:
    place = [0]

    def give(num_samples: int) -> np.ndarray:
        place[0] += num_samples
        return (0.4 * np.sin(2 * np.pi * TONE_HZ / RATE_HZ * np.arange(place[0] - num_samples, place[0]))).astype("f4")

    return give


class Recording:
    """What a device hears, until there is enough."""

    def __init__(self) -> None:
        self.pieces: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, samples: np.ndarray) -> None:
        with self._lock:
            self.pieces.append(samples.copy())

    def last(self, num_samples: int) -> np.ndarray:
        with self._lock:
            heard = np.concatenate([np.zeros(0, np.float32), *self.pieces])
        return heard[-num_samples:]


def is_tone(heard: np.ndarray) -> bool:
    """The tone at its own loudness, and nothing else."""
    if len(heard) < HEARD_SAMPLES or np.abs(heard).max() < 0.3:
        return False
    energies = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    at = round(TONE_HZ * len(heard) / RATE_HZ)
    return float(energies[at - 3 : at + 4].sum() / energies.sum()) > 0.99


def found(system: PulseSystem, name: str) -> Device:
    return next(device for device in system.devices("input") if device.name == name)


@pytest.mark.slow
async def test_a_virtual_microphone_carries_the_voice_and_survives_that_its_sink_goes(
    echo: EchoServer, sound_server: None
) -> None:
    path, system = make_virtual_microphone(NAME), PulseSystem()
    assert "source_name=test_voice" in path.read_text()
    room = next(device for device in system.devices("output") if device.name == "Room")
    microphone = Microphone(system, echo.url, None, {}, Choice("Monitor of Room", sink_key(NAME)))
    task = asyncio.create_task(microphone.run())
    speaker = await asyncio.to_thread(system.open_output, room, play_tone())
    try:
        await until(lambda: microphone.ports is not None)
        assert await heard_again(system)
        remove_virtual_microphone(NAME)
        assert not path.exists()
        await until(lambda: "devices" in microphone.trouble)
        make_virtual_microphone(NAME)
        await until(lambda: microphone.num_openings == 2)
        assert await heard_again(system)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(speaker.close)
    assert microphone.num_sessions == 1
    assert "module-remap-source" in pactl("list", "short", "modules")
    assert os.environ["XDG_CONFIG_HOME"] in str(path)


async def heard_again(system: PulseSystem) -> bool:
    """Another program, which records the virtual microphone, hears the room as it is."""
    recording = Recording()
    port = await asyncio.to_thread(system.open_input, found(system, NAME), recording.take)
    try:
        await until(lambda: is_tone(recording.last(HEARD_SAMPLES)), pause_s=0.05)
    finally:
        await asyncio.to_thread(port.close)
    return True

"""PortAudio's devices, with a stand-in for the library: what it is told, and what it may say."""

import sys
from typing import Any, ClassVar

import numpy as np
import pytest

from anivoice.client.microphone.devices import Device
from anivoice.client.microphone.portaudio import PortAudioSystem
from anivoice.errors import Unavailable

DEVICES = [
    {"name": "Yeti", "hostapi": 0, "max_input_channels": 2, "max_output_channels": 0, "default_samplerate": 44100.0},
    {"name": "CABLE", "hostapi": 1, "max_input_channels": 0, "max_output_channels": 8, "default_samplerate": 48000.0},
]
YETI, CABLE = Device("Yeti (MME)", "0", "input", True), Device("CABLE (WASAPI)", "1", "output", True)


class FakePortAudioError(Exception):
    pass


class FakeStream:
    latency = 0.02

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.active = False
        FakeSoundDevice.streams.append(self)

    def start(self) -> None:
        if self.options["device"] == 1 and FakeSoundDevice.is_taken:
            raise FakePortAudioError("device unavailable")
        self.active = True

    def abort(self, ignore_errors: bool) -> None:
        self.active = False

    close = abort


class FakeSoundDevice:
    """The parts of `sounddevice` that are used."""

    PortAudioError = FakePortAudioError
    InputStream = OutputStream = FakeStream
    streams: ClassVar[list[FakeStream]] = []
    is_taken = False
    num_beginnings = 0

    class default:  # noqa: N801
        device = (0, 1)

    @staticmethod
    def query_hostapis() -> list[dict[str, str]]:
        return [{"name": "MME"}, {"name": "WASAPI"}]

    @staticmethod
    def query_devices(number: int | None = None) -> Any:
        return DEVICES if number is None else DEVICES[number]

    @staticmethod
    def check_input_settings(device: int, channels: int, samplerate: int) -> None:
        raise FakePortAudioError("48000 Hz is not possible")

    @staticmethod
    def check_output_settings(device: int, channels: int, samplerate: int) -> None:
        assert (device, channels, samplerate) == (1, 2, 48000)

    @staticmethod
    def _terminate() -> None:
        FakeSoundDevice.num_beginnings -= 1

    @staticmethod
    def _initialize() -> None:
        FakeSoundDevice.num_beginnings += 1


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> PortAudioSystem:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice)
    monkeypatch.setattr(FakeSoundDevice, "streams", [])
    return PortAudioSystem()


def test_devices_carry_the_name_of_their_host(system: PortAudioSystem) -> None:
    assert system.devices("input") == [YETI]
    assert system.devices("output") == [CABLE]
    system.refresh()
    assert FakeSoundDevice.num_beginnings == 0


def test_a_device_that_cannot_48_khz_is_opened_at_its_own_rate_and_mixed_down(system: PortAudioSystem) -> None:
    taken: list[np.ndarray] = []
    port = system.open_input(YETI, taken.append)
    options = FakeSoundDevice.streams[0].options
    assert (port.rate_hz, options["blocksize"], options["channels"]) == (44100, 441, 2)
    options["callback"](np.array([[0.5, 0.25], [0, -1]], np.float32), 2, None, None)
    np.testing.assert_array_equal(taken[0], np.array([0.375, -0.5], np.float32))
    assert port.is_alive
    FakeSoundDevice.streams[0].active = False
    assert not port.is_alive


def test_all_channels_of_an_output_play_the_same(system: PortAudioSystem) -> None:
    port = system.open_output(CABLE, lambda number: np.arange(number, dtype=np.float32))
    data = np.zeros((3, 2), np.float32)
    FakeSoundDevice.streams[0].options["callback"](data, 3, None, None)
    np.testing.assert_array_equal(data, [[0, 0], [1, 1], [2, 2]])
    assert port.latency_s == 0.02
    port.last_call_s -= 10
    assert not port.is_alive
    port.close()


def test_a_device_that_is_taken_is_told(system: PortAudioSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSoundDevice, "is_taken", True)
    with pytest.raises(Unavailable, match="cannot be started"):
        system.open_output(CABLE, lambda number: np.zeros(number, np.float32))


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(Unavailable, match=r"pip install anivoice\[client\]"):
        PortAudioSystem()

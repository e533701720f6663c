"""A sound system without devices: a test says what the microphone hears, and takes what is played."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anivoice.client.microphone.devices import Device, Direction
from anivoice.errors import Unavailable

Samples = NDArray[np.float32]


class FakePort:
    """An open device of `rate_hz`."""

    latency_s = 0.01

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.is_alive = True
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class FakeSystem:
    """One microphone, a speaker and a cable; `present` says which are plugged in."""

    def __init__(self, input_rate_hz: int = 48000, output_rate_hz: int = 48000) -> None:
        self.present = {"mic", "speaker", "cable"}
        self.rates_hz = (input_rate_hz, output_rate_hz)
        self.takes: list[Callable[[Samples], None]] = []
        self.gives: dict[str, Callable[[int], Samples]] = {}
        self.ports: dict[str, FakePort] = {}
        self.num_refreshes = 0

    def devices(self, direction: Direction) -> list[Device]:
        known = ("mic",) if direction == "input" else ("speaker", "cable")
        return [Device(key.title(), key, direction, key in ("mic", "speaker")) for key in known if key in self.present]

    def open_input(self, device: Device, take: Callable[[Samples], None]) -> FakePort:
        self.takes.append(take)
        return self._open(device, self.rates_hz[0])

    def open_output(self, device: Device, give: Callable[[int], Samples]) -> FakePort:
        self.gives[device.key] = give
        return self._open(device, self.rates_hz[1])

    def refresh(self) -> None:
        self.num_refreshes += 1

    def unplug(self, key: str) -> None:
        self.present.discard(key)
        self.ports[key].is_alive = False

    def _open(self, device: Device, rate_hz: int) -> FakePort:
        if device.key not in self.present:
            raise Unavailable(f"{device.name} is gone")
        self.ports[device.key] = FakePort(rate_hz)
        return self.ports[device.key]

"""Microphones and outputs, whatever system carries them: what there is, and which one is meant."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anivoice.errors import InvalidParameter

Samples = NDArray[np.float32]
Direction = Literal["input", "output"]
OPTIONS: dict[Direction, str] = {"input": "--input", "output": "--output"}


@dataclass(frozen=True)
class Device:
    """`name` is what a person sees, `key` what the system calls it."""

    name: str
    key: str
    direction: Direction
    is_default: bool = False


class Port(Protocol):
    """An open device. Its samples go through a callback on a thread of its own."""

    @property
    def rate_hz(self) -> int: ...

    @property
    def latency_s(self) -> float:
        """Of the device and the system, as far as they say it."""

    @property
    def is_alive(self) -> bool:
        """False when the device is gone or stands still."""

    def close(self) -> None: ...


class AudioSystem(Protocol):
    """Calls may take a moment: not for the event loop."""

    def devices(self, direction: Direction) -> list[Device]: ...

    def open_input(self, device: Device, take: Callable[[Samples], None]) -> Port:
        """`take` gets mono samples `[n]` as they come. Raises Unavailable."""

    def open_output(self, device: Device, give: Callable[[int], Samples]) -> Port:
        """`give(n)` returns the `n` samples that are played next. Raises Unavailable."""

    def refresh(self) -> None:
        """Devices may have come or gone; called while none is open."""


def choose_device(devices: Sequence[Device], wanted: str | None, direction: Direction) -> Device:
    """The device of that name or key, the only one whose name contains it, or without `wanted` the system's default.

    Raises InvalidParameter that names what there is.
    """
    if wanted is None:
        found = [device for device in devices if device.is_default] or list(devices[:1])
    else:
        found = [device for device in devices if wanted in (device.name, device.key)][:1]
        found = found or [device for device in devices if wanted.casefold() in device.name.casefold()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(repr(device.name) for device in found or devices) or "none"
    said = "there is no device" if wanted is None else f"no device is called {wanted!r}"
    if len(found) > 1:
        said = f"several devices match {wanted!r}, say more of the name"
    raise InvalidParameter(f"{OPTIONS[direction]}: {said}; there are: {names}")

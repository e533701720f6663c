"""Devices by PortAudio (`sounddevice`): Windows, macOS, and Linux without PulseAudio or PipeWire."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from anivoice.client.microphone.devices import Device, Direction, Samples
from anivoice.errors import Unavailable

PREFERRED_RATE_HZ = 48000
GRAIN_S = 0.01
LATENCY_S = 0.04
MAX_SILENT_S = 2.0
"""A device whose callback has not been called for so long is gone."""


class PortAudioSystem:
    """Raises Unavailable if there is no PortAudio."""

    def __init__(self) -> None:
        try:
            import sounddevice
        except (ImportError, OSError) as error:
            raise Unavailable(
                f"no sound: {error}; install it by `pip install anivoice[client]`, on Linux also "
                "`apt install pulseaudio-utils` (or libportaudio2)"
            ) from error
        self._sd = sounddevice

    def devices(self, direction: Direction) -> list[Device]:
        """With the host's name behind the device's, for Windows lists each several times."""
        default = self._sd.default.device[0 if direction == "input" else 1]
        hosts = self._sd.query_hostapis()
        return [
            Device(f"{found['name']} ({hosts[found['hostapi']]['name']})", str(number), direction, number == default)
            for number, found in enumerate(self._sd.query_devices())
            if found[f"max_{direction}_channels"] > 0
        ]

    def open_input(self, device: Device, take: Callable[[Samples], None]) -> "PortAudioPort":
        def callback(data: Samples, *_: object) -> None:
            port.last_call_s = time.monotonic()
            take(data.mean(axis=1, dtype=np.float32))

        port = PortAudioPort(self._sd, self._sd.InputStream, device, callback)
        return port.start()

    def open_output(self, device: Device, give: Callable[[int], Samples]) -> "PortAudioPort":
        def callback(data: Samples, num_samples: int, *_: object) -> None:
            port.last_call_s = time.monotonic()
            data[:] = give(num_samples)[:, None]

        port = PortAudioPort(self._sd, self._sd.OutputStream, device, callback)
        return port.start()

    def refresh(self) -> None:
        """PortAudio lists the devices once, when it begins."""
        self._sd._terminate()
        self._sd._initialize()


class PortAudioPort:
    """One stream, in one or two channels, at 48 kHz where the device can, else at its own rate."""

    def __init__(self, sd: Any, kind: Any, device: Device, callback: Callable[..., None]) -> None:
        self._error = sd.PortAudioError
        self.last_call_s = time.monotonic()
        number, direction = int(device.key), device.direction
        info = sd.query_devices(number)
        channels = min(2, info[f"max_{direction}_channels"])
        check = sd.check_input_settings if direction == "input" else sd.check_output_settings
        try:
            check(device=number, channels=channels, samplerate=PREFERRED_RATE_HZ)
            self.rate_hz = PREFERRED_RATE_HZ
        except sd.PortAudioError:
            self.rate_hz = round(info["default_samplerate"])
        try:
            self._stream = kind(
                device=number,
                samplerate=self.rate_hz,
                channels=channels,
                dtype="float32",
                blocksize=round(GRAIN_S * self.rate_hz),
                latency=LATENCY_S,
                callback=callback,
            )
        except sd.PortAudioError as error:
            raise Unavailable(f"{device.name} cannot be opened ({error})") from error

    def start(self) -> "PortAudioPort":
        try:
            self._stream.start()
        except self._error as error:
            raise Unavailable(f"the device cannot be started ({error})") from error
        return self

    @property
    def latency_s(self) -> float:
        return float(self._stream.latency)

    @property
    def is_alive(self) -> bool:
        return bool(self._stream.active) and time.monotonic() - self.last_call_s < MAX_SILENT_S

    def close(self) -> None:
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)

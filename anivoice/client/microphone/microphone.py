"""From a microphone through a server to an output, for as long as one likes: what is lost comes back by itself.

Devices and stream are kept apart: while a device is gone the stream stays, while the server is gone the devices stay.
Nobody hears the speaker's own voice unless they asked for it: what is missing is silence.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from anivoice.audio.resampler import StreamResampler
from anivoice.client.microphone.devices import AudioSystem, Device, Direction, Port, Samples, choose_device
from anivoice.client.microphone.level import PeakLevel
from anivoice.client.microphone.player import WIRE_RATE_HZ, Player
from anivoice.client.pcm import decode_samples
from anivoice.client.stream_client import Event, StreamClient
from anivoice.errors import AnivoiceError, InvalidParameter, InvalidRequest, Unavailable

RETRY_S = 1.0
LOOK_S = 1.0
RECONNECT_S = 10.0
WIRE_FORMAT = "pcm_s16le"
MAX_WAITING_CHUNKS = 100
DEFAULT_BLOCK_S = 0.16
MAX_BUFFERED_BYTES = 2**22


@dataclass(frozen=True)
class Choice:
    """Names of devices; None is the system's default, and for the monitor none at all."""

    input: str | None = None
    output: str | None = None
    monitor: str | None = None


@dataclass
class Ports:
    """What is open."""

    input_device: Device
    input: Port
    players: list[Player]

    def close(self) -> None:
        self.input.close()
        for player in self.players:
            player.port.close()


@dataclass
class Counts:
    """Of the stream that is open, in samples of the wire."""

    num_sent: int = 0
    num_received: int = 0
    num_dropped_blocks: int = 0
    is_exact: bool = True


@dataclass
class Microphone:
    """`await run()`. The rest may be read and changed while it runs, on the same event loop."""

    system: AudioSystem
    base_url: str
    api_key: str | None
    parameters: Mapping[str, object]
    choice: Choice
    is_talking: bool = True
    is_on: bool = True
    trouble: dict[str, str] = field(default_factory=dict)
    """What does not work just now: of the `devices`, of the `server`."""

    def __post_init__(self) -> None:
        self.input_level = PeakLevel()
        self.ports: Ports | None = None
        self.stream: StreamClient | None = None
        self.num_sessions = 0
        self.num_openings = 0
        self.num_dropped_blocks = 0
        self.is_monitoring = True
        self._counts = Counts()
        self._block_s = DEFAULT_BLOCK_S
        self._gain = 0.0
        self._waiting: deque[Samples] = deque(maxlen=MAX_WAITING_CHUNKS)
        self._has_waiting = asyncio.Event()
        self._changes: dict[str, object] = {}
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Until it is cancelled. Raises what cannot be mended by waiting: a wrong name, key or parameter."""
        tasks = [asyncio.create_task(self._keep_devices()), asyncio.create_task(self._keep_stream())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close_ports()

    async def change(self, **values: object) -> None:
        """Parameters of the stream, from the next block on and for all streams to come."""
        self._changes.update(values)
        if self.stream is not None:
            with suppress(AnivoiceError):
                await self.stream.set_parameters(**values)

    async def switch(self, is_on: bool) -> None:
        """On, or off: then the own voice is heard with the same delay."""
        self.is_on = is_on
        await self.change(passthrough=not is_on)

    def monitor(self, is_audible: bool) -> None:
        """Whether the monitor output is heard."""
        self.is_monitoring = is_audible
        for player in [] if self.ports is None else self.ports.players[1:]:
            player.is_audible = is_audible

    def value(self, name: str) -> object:
        """A parameter as it is now, None where the server decides."""
        return self._changes.get(name, self.parameters.get(name))

    @property
    def delay_ms(self) -> float | None:
        """From microphone to output: what has been sent and not yet played, and the devices' own; None if unknown."""
        if self.ports is None or self.stream is None or not self._counts.num_received:
            return None
        player = self.ports.players[0]
        in_flight_s = self._counts.num_sent / WIRE_RATE_HZ - player.position_s
        return 1000 * (in_flight_s + self.ports.input.latency_s + player.port.latency_s)

    @property
    def num_in_flight(self) -> int:
        """Samples that the microphone heard and the server has not answered."""
        waiting = sum(map(len, self._waiting))
        return waiting + self._counts.num_sent - self._counts.num_received

    @property
    def is_delay_exact(self) -> bool:
        """False after a lost connection: how much was lost with it nobody knows."""
        return self._counts.is_exact

    async def _keep_devices(self) -> None:
        while True:
            try:
                self.ports = await asyncio.to_thread(self._open_ports)
            except (Unavailable, InvalidParameter) as error:
                if self.num_openings == 0:
                    raise
                self.trouble["devices"] = str(error)
            else:
                self.num_openings += 1
                self.trouble.pop("devices", None)
                await self._watch_ports()
                self.trouble["devices"] = "a device is gone; it is taken again when it is back"
                await self._close_ports()
            await asyncio.sleep(RETRY_S)
            await asyncio.to_thread(self.system.refresh)

    async def _watch_ports(self) -> None:
        """Until one is gone."""
        is_alive = True
        while is_alive:
            await asyncio.sleep(LOOK_S)
            is_alive = await asyncio.to_thread(self._are_alive)

    def _open_ports(self) -> Ports:
        """All or none. Raises Unavailable, InvalidParameter."""
        source = self._find(self.choice.input, "input")
        outputs = [self._find(self.choice.output, "output")]
        if self.choice.monitor is not None:
            outputs.append(self._find(self.choice.monitor, "output"))
        players: list[Player] = []
        try:
            for device in outputs:
                players.append(Player(self.system, device, self._block_s))
                players[-1].reset(self._counts.num_received)
            for player in players[1:]:
                player.is_audible = self.is_monitoring
            return Ports(source, self._open_input(source), players)
        except AnivoiceError:
            for player in players:
                player.port.close()
            raise

    def _find(self, wanted: str | None, direction: Direction) -> Device:
        return choose_device(self.system.devices(direction), wanted, direction)

    def _open_input(self, device: Device) -> Port:
        waiting: list[StreamResampler] = []

        def take(samples: Samples) -> None:
            if not waiting:
                return
            resampled = waiting[0].feed(samples)
            self.input_level.add(resampled)
            self._loop.call_soon_threadsafe(self._put, self._gated(resampled))

        port = self.system.open_input(device, take)
        waiting.append(StreamResampler(port.rate_hz, WIRE_RATE_HZ, low_delay=True))
        return port

    def _gated(self, samples: Samples) -> Samples:
        """Silence while nobody talks, so that nothing leaves this machine; without a click."""
        before, self._gain = self._gain, float(self.is_talking)
        if before == self._gain == 1:
            return samples
        return np.asarray(samples * np.linspace(before, self._gain, len(samples)), np.float32)

    def _put(self, samples: Samples) -> None:
        """On the event loop. What nobody sends is forgotten, the oldest first."""
        if self.stream is not None:
            self._waiting.append(samples)
            self._has_waiting.set()

    def _are_alive(self) -> bool:
        """A sound server may have moved a stream to another device when its own went."""
        ports = self.ports
        if ports is None or not ports.input.is_alive or not all(player.port.is_alive for player in ports.players):
            return False
        try:
            present = {device.key for device in (*self.system.devices("input"), *self.system.devices("output"))}
        except Unavailable:
            return False
        return {ports.input_device.key, *(player.device.key for player in ports.players)} <= present

    async def _close_ports(self) -> None:
        ports, self.ports = self.ports, None
        if ports is not None:
            await asyncio.to_thread(ports.close)

    async def _keep_stream(self) -> None:
        while True:
            try:
                await self._stream_once()
                self.trouble["server"] = "the server ended the stream; a new one is begun"
            except Unavailable as error:
                self.trouble["server"] = f"{error}; it is tried again"
            except AnivoiceError as error:
                if self.num_sessions == 0:
                    raise
                self.trouble["server"] = f"{error}; it is tried again"
            finally:
                self.stream = None
            await asyncio.sleep(RETRY_S)

    async def _stream_once(self) -> None:
        values = {**self.parameters, **self._changes, "sample_rate": WIRE_RATE_HZ, "format": WIRE_FORMAT}
        connecting = StreamClient.connect(
            self.base_url,
            values,
            self.api_key,
            on_event=self._note,
            reconnect_s=RECONNECT_S,
            max_buffered_bytes=MAX_BUFFERED_BYTES,
        )
        async with connecting as stream:
            self.num_sessions += 1
            self.trouble.pop("server", None)
            self._begin(Counts())
            self.stream = stream
            sending = asyncio.create_task(self._send(stream))
            try:
                await self._receive(stream)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    def _begin(self, counts: Counts) -> None:
        """Counts anew; what is heard fades out."""
        self._counts = counts
        self._waiting.clear()
        for player in [] if self.ports is None else self.ports.players:
            player.reset(0)

    async def _send(self, stream: StreamClient) -> None:
        while True:
            await self._has_waiting.wait()
            self._has_waiting.clear()
            while self._waiting:
                samples = self._waiting.popleft()
                self._counts.num_sent += len(samples)
                await stream.send(samples)

    async def _receive(self, stream: StreamClient) -> None:
        """Until the stream ends; a parameter that was refused is told, and it goes on."""
        while True:
            try:
                data = await stream.receive()
            except InvalidRequest as error:
                if stream.is_over:
                    raise
                self.trouble["parameter"] = str(error)
                continue
            if not data:
                return
            samples = decode_samples(data, WIRE_FORMAT)
            self._counts.num_received += len(samples)
            for player in [] if self.ports is None else self.ports.players:
                player.write(samples)

    def _note(self, event: Event) -> None:
        match event.get("event"):
            case "ready":
                self._block_s = float(str(event.get("block_ms", 1000 * DEFAULT_BLOCK_S))) / 1000
                for player in [] if self.ports is None else self.ports.players:
                    player.buffer.block_s = self._block_s
            case "overrun":
                self._note_drop(int(str(event["dropped_blocks"])))
            case "reconnected":
                self._begin(Counts(is_exact=False))
            case "changed":
                self.trouble.pop("parameter", None)

    def _note_drop(self, num_dropped_blocks: int) -> None:
        """The server left blocks out: what comes next belongs so much later."""
        num_new = num_dropped_blocks - self._counts.num_dropped_blocks
        self._counts.num_dropped_blocks = num_dropped_blocks
        self.num_dropped_blocks += num_new
        self._counts.num_sent -= round(num_new * self._block_s * WIRE_RATE_HZ)
        for player in [] if self.ports is None else self.ports.players:
            player.skip(num_new * self._block_s)

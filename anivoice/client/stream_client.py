"""A live stream to an anivoice server: audio in, the changed voice out (protocol: `GET /docs`, WebSocket).

async with StreamClient.connect("http://127.0.0.1:8000", {"pitch_change": 12, "sample_rate": 48000}) as stream:
    await stream.send(samples)               # in one task, as they are spoken
    async for samples in stream.samples():   # in another
        ...
    await stream.flush()                     # returns when all that was sent has come back
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import numpy as np
from numpy.typing import NDArray

from anivoice.client.connection import Connection, create_session
from anivoice.client.inbox import Inbox
from anivoice.client.pcm import SAMPLE_BYTES, decode_samples, encode_samples
from anivoice.client.wire_errors import error_of_close
from anivoice.errors import AnivoiceError, InvalidParameter, InvalidRequest, Unavailable
from anivoice.parameters import ConversionParameters

Event = dict[str, object]

MAX_BUFFERED_BYTES = 2**26
MAX_KEPT_EVENTS = 256
MAX_MARKS = 2**20
QUIET_SECONDS = 3.0


class Mark(NamedTuple):
    """A message: when it was sent or received (`time.perf_counter`), and its place in the stream in bytes."""

    time_s: float
    start_byte: int
    num_bytes: int


class StreamClient:
    """One stream. Made by `connect`; belongs to one event loop. All that it keeps is bounded.

    `send` waits while the server does not take more. What is received is kept until it is taken, at most
    `max_buffered_bytes`; beyond that no more is read, so the server stops or drops as its mode says.
    """

    def __init__(
        self, http: aiohttp.ClientSession, url: str, values: Event, reconnect_s: float, max_bytes: int
    ) -> None:
        self._connection = Connection(http, url, reconnect_s, self._reconnected)
        self._values = values
        self._inbox = Inbox(max_bytes)
        self._answered = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._flushes: deque[asyncio.Future[None]] = deque()
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._num_pings = 0
        self._last_sentence: str | None = None
        self._failure: AnivoiceError | None = None
        self._on_event: Callable[[Event], None] = lambda event: None
        self._keeps_marks = False
        self._keeps_audio = True
        self.num_sent_bytes = 0
        self.num_received_bytes = 0
        self.num_reconnects = 0
        self.ready: Event | None = None
        self.events: asyncio.Queue[Event] = asyncio.Queue(MAX_KEPT_EVENTS)
        """The latest events that nobody took."""
        self.sent: deque[Mark] = deque(maxlen=MAX_MARKS)
        self.received: deque[Mark] = deque(maxlen=MAX_MARKS)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        base_url: str,
        parameters: Mapping[str, object] | None = None,
        api_key: str | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        keep_marks: bool = False,
        keep_audio: bool = True,
        reconnect_s: float = 10.0,
        ready_timeout_s: float = 120.0,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
    ) -> AsyncIterator["StreamClient"]:
        """A stream with these conversion parameters and stream settings; closed at the end of the block.

        Events are on unless `parameters` says otherwise; then it is connected when the server is ready. `keep_marks`
        notes in `sent` and `received` when every message went and came; without `keep_audio` what comes is counted and
        forgotten. A lost connection is made anew for
        `reconnect_s`. Raises what the server answers, as exceptions of `anivoice.errors`, and Unavailable.
        """
        values: Event = {"events": True, **(parameters or {})}
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
            url = await create_session(http, base_url.rstrip("/"), values)
            stream = cls(http, url, values, reconnect_s, max_buffered_bytes)
            stream._on_event = on_event or stream._on_event
            stream._keeps_marks, stream._keeps_audio = keep_marks, keep_audio
            try:
                await stream._begin(ready_timeout_s)
                yield stream
            finally:
                await stream.close()

    async def send(self, audio: bytes | NDArray[np.generic]) -> None:
        """Audio bytes as they are, or samples `[L]` / `[L, num_channels]`, float in -1..1 or int16.

        Raises what ended the stream, if it has ended.
        """
        data = audio if isinstance(audio, bytes) else encode_samples(audio, self.input_format)
        await self._connection.send(data)
        if self._keeps_marks:
            self.sent.append(Mark(time.perf_counter(), self.num_sent_bytes, len(data)))
        self.num_sent_bytes += len(data)

    async def receive(self) -> bytes:
        """The next message of audio; b"" when the stream has ended. Raises what the server finds wrong: InvalidRequest
        for something that it refused, after which the stream goes on; other errors of the tree end it.
        """
        return await self._inbox.get()

    async def receive_samples(self) -> NDArray[np.float32]:
        """The next message as float32 `[L]`, empty at the end. Raises as `receive`."""
        return decode_samples(await self.receive(), self.output_format)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.receive():
            yield data

    async def samples(self) -> AsyncIterator[NDArray[np.float32]]:
        """All audio as it comes, until the stream ends."""
        async for data in self:
            yield decode_samples(data, self.output_format)

    async def set_parameters(self, **changes: object) -> None:
        """Changes parameters from the next block on. `receive` raises InvalidRequest if the server refuses them."""
        await self._connection.send(json.dumps(changes))
        self._values.update(changes)

    async def flush(self, timeout_s: float = 60.0) -> None:
        """Returns when all that was sent has come back (it may still lie in the buffer, for `receive`).

        Without events it counts what comes; where blocks were dropped it waits until nothing has come for a while.
        Raises Unavailable after `timeout_s`, or what ended the stream.
        """
        done = asyncio.get_running_loop().create_future()
        if self._values["events"]:
            self._flushes.append(done)
        await self._connection.send(json.dumps({"flush": True}))
        if not self._values["events"]:
            return await self._wait_for_quiet(timeout_s)
        await self._wait(done, timeout_s, "the flush")
        return None

    async def ping(self, timeout_s: float = 10.0) -> float:
        """Seconds until the server's answer. Needs events. Raises Unavailable after `timeout_s`."""
        if not self._values["events"]:
            raise InvalidRequest("a ping is answered by an event; connect with events")
        self._num_pings += 1
        number, done = self._num_pings, asyncio.get_running_loop().create_future()
        self._pings[number] = done
        started_s = time.perf_counter()
        try:
            await self._connection.send(json.dumps({"ping": number}))
            await self._wait(done, timeout_s, "a ping")
        finally:
            del self._pings[number]
        return time.perf_counter() - started_s

    async def close(self) -> None:
        """Ends the stream. What has been received can still be taken."""
        await self._connection.close()
        if self._reader is not None and not self._reader.done():
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self._finish(None)

    @property
    def is_over(self) -> bool:
        """Nothing can be sent any more."""
        return self._connection.ended is not None

    @property
    def is_connected(self) -> bool:
        """False while a lost connection is made anew, and at the end."""
        return self._connection.is_open

    @property
    def input_format(self) -> str:
        return str(self._values.get("format") or "pcm_s16le")

    @property
    def output_format(self) -> str:
        return str(self._values.get("output_format") or self.input_format)

    @property
    def input_rate_hz(self) -> int:
        return int(str(self._values.get("sample_rate") or 48000))

    @property
    def output_rate_hz(self) -> int:
        return int(str(self._values.get("output_sample_rate") or self.input_rate_hz))

    @property
    def latency_ms(self) -> dict[str, float]:
        """The promised delay, each term by name and their sum as `total`; empty without events."""
        terms: object = {} if self.ready is None else self.ready.get("latency_ms")
        return {str(name): float(ms) for name, ms in terms.items()} if isinstance(terms, dict) else {}

    async def _begin(self, ready_timeout_s: float) -> None:
        await self._connection.open()
        self._reader = asyncio.create_task(self._run(), name="anivoice-stream")
        conversion = ConversionParameters.model_fields
        await self._connection.send(
            json.dumps({name: value for name, value in self._values.items() if name not in conversion})
        )
        if not self._values["events"] or self.input_format == "wav":
            return
        try:
            async with asyncio.timeout(ready_timeout_s):
                await self._answered.wait()
        except TimeoutError as error:
            raise Unavailable(f"the server was not ready within {ready_timeout_s:g} s") from error
        if self.ready is None:
            # How the server closes tells the kind of error.
            await asyncio.wait([self._reader], timeout=1)
            raise self._failure or InvalidParameter(self._last_sentence or "the server ended the stream at once")

    async def _run(self) -> None:
        """Reads until the end."""
        end: AnivoiceError | None = None
        try:
            async for message in self._connection.messages():
                if isinstance(message, str):
                    await self._take_text(json.loads(message))
                else:
                    await self._take_audio(message)
            end = error_of_close(self._connection.close_code, self._last_sentence)
        except AnivoiceError as error:
            end = error
        except (ValueError, KeyError) as error:
            end = AnivoiceError(f"the server sent an event that is not understood ({error})")
        finally:
            await self._finish(None if self._connection.is_closing else end)

    async def _take_audio(self, data: bytes) -> None:
        self._last_sentence = None
        if self._keeps_marks:
            self.received.append(Mark(time.perf_counter(), self.num_received_bytes, len(data)))
        self.num_received_bytes += len(data)
        if self._keeps_audio:
            await self._inbox.put(data)

    async def _take_text(self, event: Event) -> None:
        if "error" in event:
            self._last_sentence = str(event["error"])
            if self._answered.is_set() or not self._values["events"]:
                await self._inbox.put(InvalidRequest(self._last_sentence))
            self._answered.set()
            return
        self._last_sentence = None
        match event.get("event"):
            case "ready":
                self.ready = event
                self._answered.set()
            case "flushed" if self._flushes:
                _resolve(self._flushes.popleft())
            case "pong":
                _resolve(self._pings.get(int(str(event["ping"]))))
        self._tell(event)

    def _tell(self, event: Event) -> None:
        if self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(event)
        self._on_event(event)

    def _reconnected(self) -> None:
        self.num_reconnects += 1
        self._tell({"event": "reconnected"})

    async def _finish(self, end: AnivoiceError | None) -> None:
        """Everybody who waits is told; only the first call counts."""
        self._failure = self._failure or end
        self._connection.end(end or InvalidRequest("the stream is closed; connect again"))
        for waiter in (*self._flushes, *self._pings.values()):
            if not waiter.done():
                waiter.set_exception(self._connection.ended or Unavailable("the stream is over"))
                waiter.exception()  # nobody may be waiting any more
        self._answered.set()
        await self._inbox.close(end)

    async def _wait(self, done: "asyncio.Future[None]", timeout_s: float, what: str) -> None:
        finished, _ = await asyncio.wait([done], timeout=timeout_s)
        if not finished:
            full = f"; {self._inbox.num_bytes} received bytes wait to be taken" if self._inbox.is_full else ""
            raise Unavailable(f"the server did not answer {what} within {timeout_s:g} s{full}")
        done.result()

    async def _wait_for_quiet(self, timeout_s: float) -> None:
        sizes = (SAMPLE_BYTES.get(self.input_format), SAMPLE_BYTES.get(self.output_format))
        until_s, quiet_s, before = time.monotonic() + timeout_s, time.monotonic() + QUIET_SECONDS, -1
        while self._connection.ended is None and time.monotonic() < min(until_s, quiet_s):
            if self.num_received_bytes != before:
                before, quiet_s = self.num_received_bytes, time.monotonic() + QUIET_SECONDS
            if sizes[0] is not None and sizes[1] is not None:
                num_frames = self.num_sent_bytes // sizes[0] // int(str(self._values.get("channels") or 1))
                if before >= sizes[1] * (num_frames * self.output_rate_hz // self.input_rate_hz):
                    return
            await asyncio.sleep(0.01)


def _resolve(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)

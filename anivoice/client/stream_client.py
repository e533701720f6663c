"""A live stream to an anivoice server: audio in, the changed voice out (protocol: `GET /docs`, WebSocket).

async with StreamClient.connect("http://127.0.0.1:8000", {"pitch_change": 12, "sample_rate": 48000}) as stream:
    await stream.send(samples)               # in one task, as they are spoken
    async for samples in stream.samples():   # in another
        ...
    await stream.flush()                     # returns when all that was sent has come back
"""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import numpy as np
from numpy.typing import NDArray

from anivoice.client.inbox import Inbox
from anivoice.client.pcm import SAMPLE_BYTES, decode_samples, encode_samples
from anivoice.client.wire_errors import CLOSE_CODES_OF_A_LOST_CONNECTION, error_of_close, error_of_status
from anivoice.errors import AnivoiceError, InvalidParameter, InvalidRequest, Unavailable
from anivoice.parameters import ConversionParameters

Event = dict[str, object]

MAX_BUFFERED_BYTES = 2**26
MAX_MESSAGE_BYTES = 2**26
MAX_KEPT_EVENTS = 256
MAX_MARKS = 2**20
QUIET_SECONDS = 3.0
RECONNECT_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0)


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
        self._http = http
        self._url = url
        self._values = values
        self._reconnect_s = reconnect_s
        self._inbox = Inbox(max_bytes)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._usable = asyncio.Event()
        self._answered = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._is_closing = False
        self._ended: AnivoiceError | None = None
        self._flushes: deque[asyncio.Future[None]] = deque()
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._num_pings = 0
        self._last_sentence: str | None = None
        self._on_event: Callable[[Event], None] = lambda event: None
        self._keeps_marks = False
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
        reconnect_s: float = 10.0,
        ready_timeout_s: float = 120.0,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
    ) -> AsyncIterator["StreamClient"]:
        """A stream with these conversion parameters and stream settings; closed at the end of the block.

        Events are on unless `parameters` says otherwise; then it is connected when the server is ready. `keep_marks`
        notes in `sent` and `received` when every message went and came. A lost connection is made anew for
        `reconnect_s`. Raises what the server answers, as exceptions of `anivoice.errors`, and Unavailable.
        """
        values: Event = {"events": True, **(parameters or {})}
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
            url = await _create_session(http, base_url.rstrip("/"), values)
            stream = cls(http, url, values, reconnect_s, max_buffered_bytes)
            stream._on_event = on_event or stream._on_event
            stream._keeps_marks = keep_marks
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
        await self._send(data)
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
        await self._send(json.dumps(changes))
        self._values.update(changes)

    async def flush(self, timeout_s: float = 60.0) -> None:
        """Returns when all that was sent has come back (it may still lie in the buffer, for `receive`).

        Without events it counts what comes; where blocks were dropped it waits until nothing has come for a while.
        Raises Unavailable after `timeout_s`, or what ended the stream.
        """
        done = asyncio.get_running_loop().create_future()
        if self._values["events"]:
            self._flushes.append(done)
        await self._send(json.dumps({"flush": True}))
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
            await self._send(json.dumps({"ping": number}))
            await self._wait(done, timeout_s, "a ping")
        finally:
            del self._pings[number]
        return time.perf_counter() - started_s

    async def close(self) -> None:
        """Ends the stream. What has been received can still be taken."""
        self._is_closing = True
        if self._reader is not None and not self._reader.done():
            if self._socket is not None:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    await asyncio.wait_for(self._socket.close(), 5)
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self._finish(None)

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
        terms = None if self.ready is None else self.ready.get("latency_ms")
        return {str(name): float(ms) for name, ms in terms.items()} if isinstance(terms, dict) else {}

    async def _begin(self, ready_timeout_s: float) -> None:
        await self._open()
        self._reader = asyncio.create_task(self._run(), name="anivoice-stream")
        conversion = ConversionParameters.model_fields
        await self._send(json.dumps({name: value for name, value in self._values.items() if name not in conversion}))
        if not self._values["events"] or self.input_format == "wav":
            return
        try:
            async with asyncio.timeout(ready_timeout_s):
                await self._answered.wait()
        except TimeoutError as error:
            raise Unavailable(f"the server was not ready within {ready_timeout_s:g} s") from error
        if self.ready is None:
            # What is wrong decides how the server closes: it tells the kind of error.
            await asyncio.wait([self._reader], timeout=1)
            raise self._ended or InvalidParameter(self._last_sentence or "the server ended the stream at its beginning")

    async def _open(self) -> None:
        try:
            self._socket = await self._http.ws_connect(self._url, max_msg_size=MAX_MESSAGE_BYTES, autoclose=True)
        except aiohttp.WSServerHandshakeError as error:
            raise error_of_status(error.status, "", (error.headers or {}).get("Retry-After")) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"cannot connect to {self._url} ({error})") from error
        self._usable.set()

    async def _send(self, data: bytes | str) -> None:
        """Over the connection that there is, or the next one. Raises what ended the stream."""
        while True:
            await self._usable.wait()
            if self._ended is not None or self._is_closing or self._socket is None:
                raise self._ended or InvalidRequest("the stream is closed; connect again")
            socket = self._socket
            try:
                return await (socket.send_bytes(data) if isinstance(data, bytes) else socket.send_str(data))
            except (aiohttp.ClientError, ConnectionError):
                if socket is self._socket and self._ended is None:
                    self._usable.clear()
                await socket.close()

    async def _run(self) -> None:
        """Reads until the end, over as many connections as it takes."""
        end: AnivoiceError | None = None
        try:
            while self._socket is not None:
                await self._read(self._socket)
                code = self._socket.close_code
                if self._is_closing or code not in CLOSE_CODES_OF_A_LOST_CONNECTION:
                    end = error_of_close(code, self._last_sentence)
                    break
                self._usable.clear()
                await self._reconnect()
        except AnivoiceError as error:
            end = error
        await self._finish(None if self._is_closing else end)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                self._last_sentence = None
                if self._keeps_marks:
                    self.received.append(Mark(time.perf_counter(), self.num_received_bytes, len(message.data)))
                self.num_received_bytes += len(message.data)
                await self._inbox.put(bytes(message.data))
            elif message.type == aiohttp.WSMsgType.TEXT:
                await self._take_text(json.loads(message.data))

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

    async def _reconnect(self) -> None:
        """Raises Unavailable when there is no connection after the grace time, NotFound when the session is over."""
        until_s = time.monotonic() + self._reconnect_s
        for attempt in range(10**6):
            if time.monotonic() > until_s:
                break
            await asyncio.sleep(RECONNECT_DELAYS_S[min(attempt, len(RECONNECT_DELAYS_S) - 1)])
            with contextlib.suppress(Unavailable):
                await self._open()
                self.num_reconnects += 1
                return self._tell({"event": "reconnected"})
        raise Unavailable(f"the connection was lost and did not come back within {self._reconnect_s:g} s")

    async def _finish(self, end: AnivoiceError | None) -> None:
        """Everybody who waits is told; only the first call counts."""
        if self._ended is None:
            self._ended = end or InvalidRequest("the stream is closed; connect again")
        for waiter in (*self._flushes, *self._pings.values()):
            if not waiter.done():
                waiter.set_exception(self._ended)
                waiter.exception()  # nobody may be waiting any more
        self._usable.set()
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
        while self._ended is None and time.monotonic() < min(until_s, quiet_s):
            if self.num_received_bytes != before:
                before, quiet_s = self.num_received_bytes, time.monotonic() + QUIET_SECONDS
            if sizes[0] is not None and sizes[1] is not None:
                num_frames = self.num_sent_bytes // sizes[0] // int(str(self._values.get("channels") or 1))
                if before >= sizes[1] * (num_frames * self.output_rate_hz // self.input_rate_hz):
                    return
            await asyncio.sleep(0.01)


async def _create_session(http: aiohttp.ClientSession, base_url: str, values: Event) -> str:
    """URL of the WebSocket. Raises what the server answers."""
    chosen = {name: values[name] for name in ConversionParameters.model_fields if name in values}
    try:
        async with http.post(f"{base_url}/convert/stream", json=chosen) as answer:
            body = await answer.text()
            if answer.status >= 300:
                raise error_of_status(answer.status, body, answer.headers.get("Retry-After"))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"cannot reach the server at {base_url} ({error})") from error
    path = str(json.loads(body)["websocket_url"])
    return path if path.startswith(("ws:", "wss:")) else base_url + path


def _resolve(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)

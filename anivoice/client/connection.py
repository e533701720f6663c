"""The WebSocket of a stream, made anew when it is lost: messages go and come over whichever there is."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp

from anivoice.client.wire_errors import CLOSE_CODES_OF_A_LOST_CONNECTION, error_of_status
from anivoice.errors import AnivoiceError, Forbidden, InvalidRequest, NotFound, Unauthorized, Unavailable

MAX_MESSAGE_BYTES = 2**26
MAX_CLOSE_SECONDS = 5.0
RECONNECT_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0)


async def create_session(http: aiohttp.ClientSession, base_url: str, parameters: Mapping[str, object]) -> str:
    """`POST /convert/stream`; the URL of the WebSocket. Raises what the server answers, or Unavailable."""
    try:
        async with http.post(f"{base_url}/convert/stream", json=parameters) as answer:
            body = await answer.text()
            if answer.status >= 300:
                raise error_of_status(answer.status, body, answer.headers.get("Retry-After"))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"cannot reach the server at {base_url} ({error})") from error
    path = str(json.loads(body)["websocket_url"])
    return path if path.startswith(("ws:", "wss:")) else base_url + path


class Connection:
    """One session's WebSocket. Belongs to one event loop."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, reconnect_s: float, on_reconnect: Callable[[], None]
    ) -> None:
        self.close_code: int | None = None
        self.ended: AnivoiceError | None = None
        self.is_closing = False
        self._http = http
        self._url = url
        self._reconnect_s = reconnect_s
        self._on_reconnect = on_reconnect
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._usable = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """False while the connection is lost."""
        return self._usable.is_set() and self.ended is None

    async def open(self) -> None:
        """Raises what the server answers, Unavailable if it cannot be reached."""
        try:
            self._socket = await self._http.ws_connect(self._url, max_msg_size=MAX_MESSAGE_BYTES)
        except aiohttp.WSServerHandshakeError as error:
            retry_after = None if error.headers is None else error.headers.get("Retry-After")
            raise error_of_status(error.status, "", retry_after) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"cannot connect to {self._url} ({error})") from error
        self._usable.set()

    async def send(self, data: bytes | str) -> None:
        """Over the connection that there is, else over the next one. Raises what ended the stream."""
        while True:
            await self._usable.wait()
            if self.ended is not None or self._socket is None:
                raise self.ended or InvalidRequest("the stream is not open")
            socket = self._socket
            try:
                return await (socket.send_bytes(data) if isinstance(data, bytes) else socket.send_str(data))
            except (aiohttp.ClientError, ConnectionError):
                if socket is self._socket and self.ended is None:
                    self._usable.clear()
                await socket.close()

    async def messages(self) -> AsyncIterator[bytes | str]:
        """Until the stream is over; `close_code` then says how. Raises as `_reopen`."""
        while self._socket is not None:
            async for message in self._socket:
                if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                    yield message.data
            self.close_code = self._socket.close_code
            if self.is_closing or self.close_code not in CLOSE_CODES_OF_A_LOST_CONNECTION:
                return
            self._usable.clear()
            await self._reopen()
            self._on_reconnect()

    def end(self, error: AnivoiceError) -> None:
        """From now on `send` raises `error`; the first one counts."""
        self.ended = self.ended or error
        self._usable.set()

    async def close(self) -> None:
        """Says farewell to the server."""
        self.is_closing = True
        if self._socket is not None:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.wait_for(self._socket.close(), MAX_CLOSE_SECONDS)

    async def _reopen(self) -> None:
        """Raises Unavailable when there is no connection after the grace time, NotFound when the session is over.

        The server may not have noticed yet that the old connection is gone, and refuse a second one until it has.
        """
        until_s = time.monotonic() + self._reconnect_s
        for delay_s in itertools.chain(RECONNECT_DELAYS_S, itertools.repeat(RECONNECT_DELAYS_S[-1])):
            if time.monotonic() > until_s:
                break
            await asyncio.sleep(delay_s)
            try:
                return await self.open()
            except (NotFound, Unauthorized, Forbidden):
                raise
            except AnivoiceError:
                continue
        raise Unavailable(f"the connection was lost and did not come back within {self._reconnect_s:g} s")

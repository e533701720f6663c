"""One connection of a live stream: what the client says, in order. Blocks that became due go to
live_blocks.py.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import WSMessage, WSMsgType, web
from pydantic import TypeAdapter, ValidationError

from anivoice.audio.wire import WireDecoder, WireEncoder
from anivoice.errors import AnivoiceError, InvalidParameter, InvalidRequest, MissingAsset, Unavailable
from anivoice.live.parameters import FIXED_AFTER_START, StreamParameters
from anivoice.server.json_text import parse_object
from anivoice.server.live.keepalive import Presence
from anivoice.server.live.lengths import LengthPolicy
from anivoice.server.live.protocol import changed_event, flushed_event, ready_event, stats_event
from anivoice.server.live.pump import LiveBlocks
from anivoice.server.live.sender import LiveSender
from anivoice.server.live.session import LiveSession
from anivoice.server.live.sessions import StreamSession
from anivoice.server.state import AppState

PIECE_BYTES = 2**14
"""Of a long message so much is taken at a time, so that nobody else waits for it."""

MESSAGES_PER_TURN = 8
"""A client that sends without end lets the others have their turn."""

MAX_TEXT_CHARS = 2**16
MAX_ERRORS_IN_A_ROW = 20
STATS_SECONDS = 1.0
FLAG = TypeAdapter(bool)
GOODBYES = (None, 0, 1000)
"""Codes of a close frame after which a client does not come back: normal, or none given."""


class LiveConnection:
    """`run` it once. `clock` in seconds is the engine's."""

    def __init__(
        self,
        state: AppState,
        session: StreamSession,
        socket: web.WebSocketResponse,
        transport: asyncio.WriteTransport,
        clock: Callable[[], float],
    ) -> None:
        self.session = session
        self._socket = socket
        self._live = session.held if isinstance(session.held, LiveSession) else LiveSession(state, clock)
        session.held = self._live
        self._sender = LiveSender(socket, transport, state.settings.max_stall_seconds, clock)
        self._blocks = LiveBlocks(self._live, self._sender, state.metrics, clock, self.stop)
        self._decoder: WireDecoder | None = None
        self._wanted: StreamParameters | None = None
        self._wants_change = asyncio.Event()
        self._changing = asyncio.Lock()
        self._num_errors = 0
        self.may_return = True
        """Whether the client lost its connection, or ended its stream."""
        self._stop_reason: Exception | None = None
        self._stopping = asyncio.Event()
        self._clock = clock
        self._presence = Presence(state.settings.max_stall_seconds, clock)

    async def run(self) -> None:
        """Until it is over. Raises an ExceptionGroup of what went wrong."""
        loops = {
            "changes": self._apply_changes(),
            "stats": self._tell_stats(),
            "watch": self._watch_client(),
            "lengths": self._adapt_lengths(),
            "stop": self._wait_for_stop(),
        }
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop, name=f"anivoice-live-{name}") for name, loop in loops.items()]
                try:
                    await self._read()
                finally:
                    while tasks:
                        tasks.pop().cancel()
        finally:
            self._blocks.abandon()

    def stop(self, error: Exception) -> None:
        """Ends the connection for that reason."""
        self._stop_reason = self._stop_reason or error
        self._stopping.set()

    async def change_from_outside(self, values: dict[str, Any]) -> None:
        """From the next block on, as if the client had said so; it is told by `changed`. Needs a stream that has begun.

        Raises InvalidParameter, and what `LiveSession.change` raises: then nothing has changed.
        """
        async with self._changing:
            await self._live.change(self._live.parameters.changed(values))
            if self._wanted is not None:
                self._wanted = self._wanted.changed(values)
        self._wants_change.set()

    @property
    def num_queued(self) -> int:
        """Blocks that wait."""
        return len(self._blocks.queue)

    def doubt(self) -> None:
        """Somebody else wants the session: if the client does not show soon that it is there, it is gone."""
        self._presence.doubt()

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()
        if self._stop_reason is not None:
            raise self._stop_reason

    async def _read(self) -> None:
        if self._live.has_begun:
            self._live.resume()
            await self._make_ready()
        num_since_turn = 0
        while True:
            self._presence.listen()
            message = await self._socket.receive()
            self._presence.hear()
            if message.type is WSMsgType.BINARY:
                await self._take_audio(message.data)
            elif not await self._take_other(message):
                return
            num_since_turn += 1
            if num_since_turn >= MESSAGES_PER_TURN:
                await self._blocks.let_others()
                num_since_turn = 0

    async def _take_other(self, message: WSMessage) -> bool:
        """False if it was the last one."""
        match message.type:
            case WSMsgType.TEXT:
                await self._take_text(message.data)
            case WSMsgType.PING:
                await self._sender.answer_ping(message.data)
            case WSMsgType.PONG:
                pass
            case _:
                self.may_return = not _is_goodbye(message)
                return False
        return True

    async def _take_audio(self, message: bytes) -> None:
        if not self._live.has_begun:
            await self._begin(self.session.parameters)
        self._blocks.stream_clock.begin_message()
        for piece in self._pieces(message):
            assert self._decoder is not None
            try:
                samples = self._decoder.feed(piece)
            except InvalidRequest as error:
                await self._complain(error)
                return
            if len(samples):
                if not self._live.has_audio or self._decoder.sample_rate_hz != self._live.stream.input_rate_hz:
                    await self._settle_rates(self._decoder)
                self._live.meter.hear(samples)
                self._blocks.stream_clock.hear(len(samples) / self._decoder.sample_rate_hz)
                steps = self._live.stream.feed(samples)
                if steps:
                    await self._blocks.add(steps)
            if len(message) > PIECE_BYTES:
                await asyncio.sleep(0)
        self._num_errors = 0

    def _pieces(self, message: bytes) -> Sequence[bytes]:
        """A packet of opus is whole; so is the header of a WAV file, in the first piece."""
        assert self._decoder is not None
        if message and (len(message) <= PIECE_BYTES or self._decoder.format == "opus"):
            return (message,)
        return [message[start : start + PIECE_BYTES] for start in range(0, len(message), PIECE_BYTES)]

    async def _settle_rates(self, decoder: WireDecoder) -> None:
        """With the first audio: the format and the rate may be others than the parameters say."""
        found = {"sample_rate": decoder.sample_rate_hz, "format": decoder.format}
        if self._live.has_audio:
            raise InvalidParameter(
                f"sample_rate: the stream was begun with {self._live.parameters.sample_rate} Hz, the header says "
                f"{decoder.sample_rate_hz}; make a new session"
            )
        parameters = self._live.parameters
        if any(getattr(parameters, name) != value for name, value in found.items()):
            await self._begin(parameters.changed(found), decoder)
        self._live.has_audio = True

    async def _take_text(self, text: str) -> None:
        """Parameters, then what is asked for. What is wrong is told, and the stream goes on."""
        try:
            if len(text) > MAX_TEXT_CHARS:
                raise InvalidRequest(f"a text message is longer than {MAX_TEXT_CHARS} characters")
            values = parse_object(text, "the message")
            wants_flush = _read_flag(values.pop("flush", None))
            is_ping, ping = "ping" in values, values.pop("ping", None)
            if values or not (wants_flush or is_ping):
                await self._take_parameters(values)
        except AnivoiceError as error:
            if isinstance(error, Unavailable) and not isinstance(error, MissingAsset):
                raise
            return await self._complain(error)
        self._num_errors = 0
        if wants_flush:
            await self._flush()
        if is_ping:
            await self._sender.send_text({"event": "pong", "ping": ping})
        return None

    async def _take_parameters(self, values: dict[str, object]) -> None:
        if not self._live.has_begun:
            parameters = self.session.parameters.changed(values)
            return await self._begin(parameters)
        present = self._live.parameters
        parameters = (self._wanted or present).changed(values)
        fixed = [name for name in FIXED_AFTER_START if getattr(parameters, name) != getattr(present, name)]
        if fixed and self._live.has_audio:
            raise InvalidParameter(f"{fixed[0]}: cannot change once audio has come; make a new session")
        if not self._live.has_audio:
            return await self._begin(parameters)
        if self._decoder is not None and self._decoder.is_refused and "format" in values:
            self._decoder = WireDecoder(present.format, present.sample_rate, present.channels)
        self._wanted = parameters
        self._wants_change.set()
        return None

    async def _begin(self, parameters: StreamParameters, decoder: WireDecoder | None = None) -> None:
        await self._live.begin(parameters)
        await self._make_ready(decoder)

    async def _make_ready(self, decoder: WireDecoder | None = None) -> None:
        """For the stream as it is: codecs, the queue, and the client's events. `decoder`: one that has begun."""
        p = self._live.parameters
        self._decoder = decoder or WireDecoder(p.format, p.sample_rate, p.channels)
        encoder = self._blocks.encoder = WireEncoder(*p.wire_output)
        self._blocks.queue.configure(p.mode == "live", self._live.block_s)
        self._sender.wants_events = p.events
        await self._sender.send_event(ready_event(self._live, encoder, self.session.session_id))

    async def _apply_changes(self) -> None:
        """Several changes that come while a voice is loaded become one."""
        while True:
            await self._wants_change.wait()
            self._wants_change.clear()
            wanted = self._wanted
            try:
                if wanted is not None:
                    await self._change(wanted)
                await self._tell_change()
            except AnivoiceError as error:
                await self._complain(error)
            self._wanted = None if self._wanted is wanted else self._wanted

    async def _change(self, wanted: StreamParameters) -> None:
        async with self._changing:
            await self._live.change(wanted)
        self._sender.wants_events = wanted.events

    async def _flush(self) -> None:
        if self._live.has_begun:
            await self._blocks.flush()
        await self._sender.send_event(flushed_event(self._live))

    async def _complain(self, error: AnivoiceError) -> None:
        """Raises the error when there were too many before it: then the connection ends."""
        self._num_errors += 1
        if self._num_errors > MAX_ERRORS_IN_A_ROW:
            raise InvalidRequest(f"{error}; this was the {self._num_errors}th error in a row")
        await self._sender.send_error(error)

    async def _tell_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_SECONDS)
            if self._sender.wants_events:
                await self._sender.send_event(stats_event(self._live, len(self._blocks.queue)))

    async def _watch_client(self) -> None:
        """Raises TimeoutError when the client takes nothing, or is gone. Sends nothing but pings, and only to one that
        takes what is sent: a watch that waits for the client would not notice.
        """
        while True:
            await asyncio.sleep(STATS_SECONDS)
            self._sender.check()
            if self._presence.needs_ping() and not self._sender.is_sending:
                await self._sender.ping()

    async def _adapt_lengths(self) -> None:
        """Longer blocks when the machine has become too slow for those, shorter ones when it is quiet again."""
        policy = LengthPolicy(self._clock)
        while True:
            await asyncio.sleep(STATS_SECONDS)
            if not self._live.has_audio:
                continue
            counts = self._live.counts
            move = policy.next_move(counts.num_missed, counts.are_slow(self._live.block_s))
            if not move:
                continue
            if await self._live.adapt(move):
                policy.moved(move)
                await self._tell_change()
            else:
                policy.stayed(move)

    async def _tell_change(self) -> None:
        self._blocks.queue.configure(self._live.parameters.mode == "live", self._live.block_s)
        if self._blocks.encoder is not None:
            await self._sender.send_event(changed_event(self._live, self._blocks.encoder))


def _read_flag(value: object) -> bool:
    """As every other flag is read: "false" is no yes. Raises InvalidParameter."""
    try:
        return value is not None and FLAG.validate_python(value)
    except ValidationError as error:
        raise InvalidParameter(f"flush: true or false, not {value!r:.60}") from error


def _is_goodbye(message: WSMessage) -> bool:
    """Whether the client ended the stream, or broke the protocol, rather than lost its connection."""
    return message.type is WSMsgType.ERROR or (message.type is WSMsgType.CLOSE and message.data in GOODBYES)

"""How old the audio of a live stream is, wherever it lay before it was read."""

from collections.abc import Callable

FORGET_SHARE = 0.01
"""Of the time that passes: so fast a lead is forgotten. Clocks of sound cards differ by less than a thousandth."""


class Message:
    """A message that came at `time_s`; with its last sample the stream had brought `end_s` seconds of audio."""

    __slots__ = ("end_s", "num_steps", "time_s")

    def __init__(self, time_s: float, end_s: float) -> None:
        self.time_s = time_s
        self.end_s = end_s
        self.num_steps = 0
        """Blocks that it made due."""


class StreamClock:
    """The stream's own time: how much audio has come, against the time since its start. `clock` in seconds.

    A message is late when the stream has brought less audio than time has passed. It is old when, besides, more has
    come behind it: then it lay somewhere, in the network or in a socket that a busy event loop did not read. Without
    anything behind it the client has paused. A client that sends faster than it speaks is ahead: nothing is old.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start_s: float | None = None
        self._message = Message(clock(), 0.0)
        self._heard_s = 0.0

    def reset(self) -> None:
        """A new stream begins with the next message."""
        self._start_s = None

    @property
    def message(self) -> Message:
        """The last one."""
        return self._message

    def begin_message(self) -> None:
        """A message was read; `hear` says what is in it."""
        now_s = self._clock()
        if self._start_s is not None:
            lead_s = self._start_s + self._heard_s - now_s
            self._start_s -= min(max(lead_s, 0.0), FORGET_SHARE * (now_s - self._message.time_s))
        self._message = Message(now_s, self._heard_s)

    def hear(self, seconds: float) -> None:
        """The message brought so much audio."""
        self._heard_s += seconds
        self._message.end_s = self._heard_s
        if self._start_s is None:
            self._start_s = self._message.time_s - self._heard_s

    @property
    def late_s(self) -> float:
        """How much less audio has come than time has passed; negative if the client is ahead."""
        return 0.0 if self._start_s is None else self._clock() - self._start_s - self._heard_s

    def arrived_s(self, message: Message) -> float:
        """When the message came, or, if it must have lain unread, when it should have come."""
        if self._start_s is None:
            return message.time_s
        due_s = max(self._start_s + message.end_s, self._clock() - (self._heard_s - message.end_s))
        return min(message.time_s, due_s)

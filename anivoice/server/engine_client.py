"""Live blocks on their way to the engine thread, and their results on the way back: few wake-ups for many."""

import asyncio
from collections import deque
from collections.abc import Callable

from anivoice.engine.batch import Job, WindowRequest, Work
from anivoice.engine.engine import Engine

GATHER_S = 0.002


class Reply:
    """Where the engine puts the result of one live block. Made by `EngineClient.submit`."""

    __slots__ = ("_engine_client", "_error", "_has_outcome", "_result", "take")

    def __init__(self, engine_client: "EngineClient", take: "Callable[[Reply], None]") -> None:
        self._engine_client = engine_client
        self._has_outcome = False
        self._result: object = None
        self._error: BaseException | None = None
        self.take = take

    def done(self) -> bool:
        """It has ended, but perhaps the event loop does not know it yet."""
        return self._has_outcome

    def set_running_or_notify_cancel(self) -> bool:
        """Who does not want it any more cancels its job."""
        return True

    def set_result(self, result: object) -> None:
        self._result, self._has_outcome = result, True
        self._engine_client.send(self)

    def set_exception(self, error: BaseException) -> None:
        self._error, self._has_outcome = error, True
        self._engine_client.send(self)

    def result(self) -> object:
        """What has come; raises it if it is an error."""
        if self._error is not None:
            raise self._error
        return self._result


class EngineClient:
    """Belongs to one event loop; `send` is called on the engine thread.

    Waking a thread costs more than many a block. So where blocks come thick and fast, what comes within `GATHER_S` goes
    to the engine together.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: list[Work] = []
        self._asked_s = 0.0
        self._sent: deque[Reply] = deque()
        self._is_called = False

    def submit(self, request: WindowRequest, job: Job, deadline_s: float, take: Callable[[Reply], None]) -> Reply:
        """As the engine's. `take` is called later, on the event loop, when it has ended. What is refused fails."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        reply = Reply(self, take)
        self._asked.append(Work(request, job, reply, deadline_s))
        if len(self._asked) == 1:
            wait_s = self._asked_s + GATHER_S - self._loop.time()
            if wait_s > 0:
                self._loop.call_later(wait_s, self._ask)
            else:
                self._ask()
        return reply

    def send(self, reply: Reply) -> None:
        """To the event loop, with all others that it has not taken yet."""
        self._sent.append(reply)
        if not self._is_called and self._loop is not None:
            self._is_called = True
            self._loop.call_soon_threadsafe(self._take)

    def _ask(self) -> None:
        asked, self._asked = self._asked, []
        if self._loop is not None:
            self._asked_s = self._loop.time()
        self._engine.submit_all(asked)

    def _take(self) -> None:
        self._is_called = False  # first: what is sent from here on calls again
        while self._sent:
            reply = self._sent.popleft()
            reply.take(reply)

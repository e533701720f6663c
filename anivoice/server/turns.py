"""Who converts next: short recordings before long ones, and among those who wait, whoever asks for the least.

A conversion that has had its turn for a while is a long one: it steps aside for those that have not, at its next step,
and goes on when no short one waits. So nobody waits for more than a slice of somebody else's hours.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

LONG_S = 5.0
"""Time of turns after which a conversion is a long one."""

MAX_ASIDE_PER_TURN = 3
"""Those who step aside keep their voice and their files: there are so many of them for each turn at most."""


@dataclass(eq=False)
class Turn:
    """One conversion's claim. `served_s`: how long it has run; where it waits, `coming` is what it waits for."""

    peer: str
    served_s: float = 0.0
    began_s: float = 0.0
    has_begun: bool = False
    is_ending: bool = False
    coming: "asyncio.Future[None] | None" = field(default=None, repr=False)

    @property
    def is_long(self) -> bool:
        return self.served_s >= LONG_S


class Turns:
    """`max_running` at a time. Belongs to the event loop."""

    def __init__(self, max_running: int, clock: Callable[[], float]) -> None:
        self.max_running = max_running
        self._clock = clock
        self._running: list[Turn] = []
        self._waiting: list[Turn] = []

    @property
    def max_begun(self) -> int:
        """So many have begun at most: each needs a thread."""
        return self.max_running * (1 + MAX_ASIDE_PER_TURN)

    async def take(self, turn: Turn) -> None:
        """Waits for its turn. `give_back` afterwards."""
        if len(self._running) < self.max_running:
            return self._begin(turn)
        turn.coming = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn.coming
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:  # it came at the same moment
                self.give_back(turn)
            raise

    def give_back(self, turn: Turn) -> None:
        """It is done, or steps aside: the next one begins."""
        self._account(turn)
        self._running.remove(turn)
        if self._waiting:
            following = min(self._waiting, key=self._claim)
            self._waiting.remove(following)
            self._begin(following)

    async def step_aside(self, turn: Turn) -> None:
        """Between two steps of a conversion: where it is a long one and a short one waits, that one goes first."""
        self._account(turn)
        if not turn.is_ending and self._must_step_aside(turn):
            self.give_back(turn)
            await self.take(turn)

    def release(self, turn: Turn) -> None:
        """It need not wait any longer: it is to end. Its turn comes at once, beyond the limit for that moment."""
        turn.is_ending = True
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._begin(turn)

    def _must_step_aside(self, turn: Turn) -> bool:
        num_aside = sum(one.has_begun for one in self._waiting)
        return (
            turn.is_long
            and num_aside < self.max_running * MAX_ASIDE_PER_TURN
            and any(not one.is_long for one in self._waiting)
        )

    def _claim(self, turn: Turn) -> tuple[bool, int, int]:
        """The least goes first: short ones, then those of the peer that has the fewest turns, then as they came."""
        num_of_peer = sum(one.peer == turn.peer for one in self._running)
        return turn.is_long, num_of_peer, self._waiting.index(turn)

    def _begin(self, turn: Turn) -> None:
        turn.began_s, turn.has_begun = self._clock(), True
        self._running.append(turn)
        if turn.coming is not None and not turn.coming.done():
            turn.coming.set_result(None)

    def _account(self, turn: Turn) -> None:
        now_s = self._clock()
        turn.served_s += now_s - turn.began_s
        turn.began_s = now_s

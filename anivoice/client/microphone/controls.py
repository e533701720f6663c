"""What the keys do."""

import asyncio
import math
from collections.abc import Callable, Coroutine

from anivoice.client.microphone.microphone import Microphone

HELP = "Keys: space talk, o on/off, h hear yourself, + and - pitch, q end."
HELD_S = 0.7
"""Terminals do not tell when a key is let go, but repeat one that is held: the first time after up to 0.66 s."""
MAX_PITCH = 36


class Controls:
    """With `push_to_talk` one is heard while the space bar is held, else it switches. Belongs to one event loop."""

    def __init__(self, microphone: Microphone, push_to_talk: bool, end: Callable[[], None]) -> None:
        self._microphone = microphone
        self._push_to_talk = push_to_talk
        self._end = end
        self._release: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        microphone.is_talking = not push_to_talk

    def press(self, key: str) -> None:
        """Other keys do nothing."""
        microphone = self._microphone
        match key:
            case " ":
                self._talk()
            case "o":
                self._start(microphone.switch(not microphone.is_on))
            case "h":
                microphone.monitor(not microphone.is_monitoring)
            case "+" | "-":
                self._start(microphone.change(pitch_change=self._next_pitch(1 if key == "+" else -1)))
            case "q":
                self._end()

    def _talk(self) -> None:
        if not self._push_to_talk:
            self._microphone.is_talking = not self._microphone.is_talking
            return
        self._microphone.is_talking = True
        if self._release is not None:
            self._release.cancel()
        self._release = asyncio.get_running_loop().call_later(HELD_S, self._fall_silent)

    def _fall_silent(self) -> None:
        self._microphone.is_talking = False

    def _next_pitch(self, step: int) -> float:
        now = float(str(self._microphone.value("pitch_change") or 0))
        pitch = math.floor(now) + 1 if step > 0 else math.ceil(now) - 1
        return max(-MAX_PITCH, min(MAX_PITCH, pitch))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

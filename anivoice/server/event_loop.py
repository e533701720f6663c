"""The event loop that the server runs on, and what keeps its turns short."""

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anivoice.server.readiness import WarmUp

SWITCH_SECONDS = 0.0003
"""How long the engine's thread may keep the interpreter while the event loop waits for it; Python's own is 5 ms."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop; on Windows winloop."""
    if sys.platform == "win32":
        import winloop

        return winloop.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def keep_turns_short(warm_up: "WarmUp") -> None:
    """Once all modules and the first voice are there, the garbage collector need not look at them again.

    A full collection takes 0.2 s with torch, and every thread stands still meanwhile.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    await warm_up.wait()
    gc.collect()
    gc.freeze()

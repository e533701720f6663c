"""The event loop that the server runs on, and what keeps its turns short."""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from anivoice.process import freeze_garbage, switch_threads_often

if TYPE_CHECKING:
    from anivoice.server.readiness import WarmUp


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop; on Windows winloop."""
    if sys.platform == "win32":
        import winloop

        return winloop.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def keep_turns_short(warm_up: "WarmUp") -> None:
    """Once all modules and the first voice are there, the garbage collector need not look at them again."""
    switch_threads_often()
    await warm_up.wait()
    freeze_garbage()

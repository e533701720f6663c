"""Waiting for what a test expects."""

import asyncio
from collections.abc import Callable

MAX_WAIT_S = 120.0


async def until(is_so: Callable[[], bool], pause_s: float = 0.005) -> None:
    """Raises TimeoutError when it does not come."""
    async with asyncio.timeout(MAX_WAIT_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(pause_s)

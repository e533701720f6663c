"""Single keys from the terminal, without Return."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

POLL_S = 0.03


@contextmanager
def keys_pressed(on_key: Callable[[str], None]) -> Iterator[None]:
    """Calls `on_key` on this event loop for every key, for as long as the block; does nothing without a terminal."""
    if not sys.stdin.isatty():
        yield
    elif sys.platform == "win32":
        task = asyncio.get_running_loop().create_task(_poll_console(on_key))
        try:
            yield
        finally:
            task.cancel()
    else:
        with _single_keys(), _watched(on_key):
            yield


@contextmanager
def _single_keys() -> Iterator[None]:
    """The terminal gives keys at once and does not show them; afterwards it is as before."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _watched(on_key: Callable[[str], None]) -> Iterator[None]:
    import os

    number, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def read() -> None:
        for key in os.read(number, 64).decode("utf-8", "ignore"):
            on_key(key)

    loop.add_reader(number, read)
    try:
        yield
    finally:
        loop.remove_reader(number)


async def _poll_console(on_key: Callable[[str], None]) -> None:
    import msvcrt

    console: Any = msvcrt
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            while console.kbhit():
                on_key(console.getwch())
            await asyncio.sleep(POLL_S)

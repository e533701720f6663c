"""A thread for pitch methods that cannot pause: libraries which compute a whole recording in one call."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

METHODS = ("harvest", "dio", "pm")
NICENESS = 10


class HostThread(ThreadPoolExecutor):
    """One thread beside the engine's. harvest and dio let go of Python's lock while they compute, pm does not."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="anivoice-pitch", initializer=_step_back)


def _step_back() -> None:
    """Leaves the cores to the engine, where the system knows threads of different urgency."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

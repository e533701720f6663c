"""Threads that leave the processor's cores to the engine."""

import os
import sys
import threading

NICENESS = 10


def step_back() -> None:
    """Lowers the calling thread's priority, where the system knows threads of different urgency."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

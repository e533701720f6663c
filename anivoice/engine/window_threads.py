"""Threads that each compute a whole live window by itself, side by side: for small voices on a CPU with several cores.

A small network computes a window no faster on two threads than on one, so the other core is better given the next
stream's window. What a window takes is then the same whoever else is computed, to the last bit.
"""

import time
from collections.abc import Generator
from concurrent.futures import Future
from typing import TypeVar

import torch

from anivoice.engine.batch import HostWork, Stage
from anivoice.models.cpu.threads import WorkThreads

T = TypeVar("T")


class WindowThreads:
    """They end with `close`. What they use at the same time must not be written to."""

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._threads = WorkThreads(num_threads)

    def steps(self, steps: Generator[Stage, None, T]) -> Generator[Stage, None, T]:
        """All `steps` on one of the threads, for which the caller waits."""
        future: Future[T] = Future()
        work = HostWork(future, self.num_threads)
        self._threads.submit(_compute, steps, future, work)
        while not work.is_done():
            yield work
        return future.result()

    def close(self) -> None:
        """Waits for what has begun; the rest is dropped."""
        self._threads.shutdown(cancel_futures=True)


def _compute(steps: Generator[Stage, None, T], future: Future[T], work: HostWork) -> None:
    try:
        with torch.inference_mode():
            result = _finish(steps, work)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _finish(steps: Generator[Stage, None, T], work: HostWork) -> T:
    """What comes after the last pause counts as the last stage."""
    stage = ""
    while True:
        started = time.perf_counter()
        try:
            stage = str(next(steps))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            work.stage_s[stage] = work.stage_s.get(stage, 0.0) + time.perf_counter() - started

"""Threads for work whose matrix products are too small to be shared out: each computes a part of it by itself. And what
is too small even for that, on one thread.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from anivoice.models.steps import Steps, each_inside
from anivoice.process import prepare_compute_thread

S = TypeVar("S")
T = TypeVar("T")


class WorkThreads(ThreadPoolExecutor):
    """Threads that compute side by side."""

    def __init__(self, num_threads: int) -> None:
        super().__init__(
            num_threads, thread_name_prefix="anivoice-work", initializer=prepare_compute_thread, initargs=(1,)
        )
        self.num_threads = num_threads

    def steps(self, works: Sequence[Steps[T]]) -> Steps[list[T]]:
        """All `works`, a step of each at a time side by side; the caller waits. A pause after each round."""
        results: dict[int, T] = {}
        while running := [i for i in range(len(works)) if i not in results]:
            for i, end in zip(running, self.map(_next, [works[i] for i in running]), strict=True):
                if end is not None:
                    results[i] = end.value
            yield
        return [results[i] for i in range(len(works))]


@contextmanager
def one_thread() -> Iterator[None]:
    """What torch computes inside, the calling thread computes alone."""
    # The number belongs to the calling thread; setting it takes a fifth of a microsecond.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def on_one_thread(steps: Generator[S, None, T]) -> Generator[S, None, T]:
    """`steps`, each in `one_thread`."""
    return each_inside(one_thread, steps)


def _next(work: Steps[T]) -> StopIteration | None:
    """Its end, if this was the last step. In inference mode, which belongs to the thread."""
    with torch.inference_mode():
        try:
            next(work)
        except StopIteration as end:
            return end
    return None

"""Threads for work whose matrix products are too small to be shared out: each computes a part of it by itself. And what
is too small even for that, on one thread.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from anivoice.models.pauses import pausing
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

    def run(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """`work` of all items, side by side; the caller waits."""
        return list(self.map(partial(_in_inference_mode, work), items))


@contextmanager
def one_thread() -> Iterator[None]:
    """What torch computes inside, the calling thread computes alone and without a pause: other work wants them all."""
    # The number belongs to the calling thread; setting it takes a fifth of a microsecond.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pausing(None):
            yield
    finally:
        torch.set_num_threads(num_threads)


def _in_inference_mode(work: Callable[[S], T], item: S) -> T:
    """The mode belongs to the thread."""
    with torch.inference_mode():
        return work(item)

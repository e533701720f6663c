"""Threads for work whose matrix products are too small to be shared out: each computes a part of it by itself."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from anivoice.models.steps import Steps

T = TypeVar("T")


class WorkThreads(ThreadPoolExecutor):
    """Threads that compute side by side."""

    def __init__(self, num_threads: int) -> None:
        super().__init__(num_threads, thread_name_prefix="anivoice-work", initializer=_prepare_thread)
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


def _next(work: Steps[T]) -> StopIteration | None:
    """Its end, if this was the last step. In inference mode, which belongs to the thread."""
    with torch.inference_mode():
        try:
            next(work)
        except StopIteration as end:
            return end
    return None


def _prepare_thread() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)

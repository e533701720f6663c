"""Requests in steps: generators that say which stage was done, or what is waited for, and return a result.

Long computations within a step let others pass by themselves (`models.pauses`).
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def finish(steps: Generator[object, None, T]) -> T:
    """All steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def each_inside(
    enter: Callable[[], AbstractContextManager[object]], steps: Generator[S, None, T]
) -> Generator[S, None, T]:
    """`steps`, each in a context entered anew: what a context sets for its thread must not last over a pause."""
    while True:
        with enter():
            try:
                step = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
        yield step

"""Long computations in steps: generators that pause where other work may come in between, and return a result."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")

Steps = Generator[None, None, T]


def finish(steps: Generator[object, None, T]) -> T:
    """All steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def named(name: str, steps: Steps[T]) -> Generator[str, None, T]:
    """`steps` with `name` at each pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        yield name


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


def chunks(x: Tensor, num_frames: int, dim: int) -> tuple[Tensor, ...]:
    """`x` in pieces of `num_frames`; on other devices than the CPU, which are quick, in one piece."""
    return torch.split(x, num_frames, dim) if x.device.type == "cpu" else (x,)


def in_chunks(compute: Callable[[Tensor], Tensor], x: Tensor, num_frames: int, dim: int) -> Steps[Tensor]:
    """`compute(x)`, which must work frame by frame along `dim`, chunk by chunk with a pause after each."""
    parts = []
    for chunk in chunks(x, num_frames, dim):
        parts.append(compute(chunk))
        yield
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

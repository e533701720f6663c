"""Where long computations let other work pass.

A network calls `point` between its layers. Whoever lent it the thread may then do something else there, something more
urgent, before the network goes on; or end it by raising. Elsewhere a point is nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_at_point: ContextVar[Callable[[], None] | None] = ContextVar("at_point", default=None)
"""Every thread has its own. A threading.local would be as good, and three times slower to read."""


def point() -> None:
    """Other work may be done here, on this thread."""
    at_point = _at_point.get()
    if at_point is not None:
        at_point()


@contextmanager
def pausing(at_point: Callable[[], None] | None) -> Iterator[None]:
    """Inside, this thread calls `at_point` at each point. None: nothing comes in between."""
    token = _at_point.set(at_point)
    try:
        yield
    finally:
        _at_point.reset(token)


def chunks(x: Tensor, num_frames: int, dim: int) -> tuple[Tensor, ...]:
    """`x` in pieces of `num_frames`; on other devices than the CPU, which are quick, in one piece."""
    return torch.split(x, num_frames, dim) if x.device.type == "cpu" else (x,)


def in_chunks(compute: Callable[[Tensor], Tensor], x: Tensor, num_frames: int, dim: int) -> Tensor:
    """`compute(x)`, which must work frame by frame along `dim`, chunk by chunk with a point after each."""
    parts = []
    for chunk in chunks(x, num_frames, dim):
        parts.append(compute(chunk))
        point()
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

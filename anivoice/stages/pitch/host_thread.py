"""Threads for pitch methods that cannot pause: libraries which compute a whole recording in one call."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from torch import Tensor

from anivoice.stages.background import step_back


def compute_beside(estimate: Callable[[Tensor], Tensor], samples: Tensor) -> Future[Tensor]:
    """`estimate(samples)` beside the engine's thread, on one that ends with it.

    harvest and dio let go of Python's lock while they compute, pm does not.
    """
    future: Future[Tensor] = Future()

    def compute() -> None:
        step_back()
        try:
            future.set_result(estimate(samples))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=compute, name="anivoice-pitch", daemon=True).start()
    return future

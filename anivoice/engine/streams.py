"""Where live work runs: lanes that work side by side on a CUDA device, and one after the other elsewhere.

A lane is a CUDA stream. Content and pitch of one batch have nothing to do with each other, and nothing with the
synthesizer of the batch before; copies in and out have lanes of their own. On other devices a lane is nothing.
"""

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.engine.batch import Stage

T = TypeVar("T")

CONTENT, PITCH, SYNTHESIZER = "content", "pitch", "synthesizer"
LANES = (CONTENT, PITCH, SYNTHESIZER)
Array = NDArray[Any]
Compute = Callable[..., Tensor]


class Download(Protocol):
    """Results on their way to the host."""

    def is_done(self) -> bool: ...

    def arrays(self) -> list[Array]:
        """The results; call it when `is_done`."""
        ...


class Lanes(Protocol):
    """What `engine.live` needs of a device. Tensors that cross lanes are kept alive by the caller until the download
    is done. Call everything on the engine thread; where computations pause, any thread may.
    """

    device: torch.device
    pauses: bool
    """Whether long computations are done in small pieces, because the engine thread itself does them."""

    @property
    def files(self) -> "Lanes":
        """Where file conversions run: live work goes before them."""
        ...

    def on(self, lane: str) -> AbstractContextManager[object]:
        """What is computed inside is queued on `lane`."""
        ...

    def upload(self, array: Array) -> Tensor:
        """To the device; every lane waits for it."""
        ...

    def join(self, lane: str, *others: str) -> None:
        """`lane` goes on when the others have done what they have been given so far."""
        ...

    def call(
        self,
        owner: object,
        key: Hashable,
        compute: Compute,
        tensors: Sequence[Tensor],
        constants: Sequence[Tensor] = (),
    ) -> Tensor:
        """`compute(*tensors)` on the current lane. All tensors are `[B, ...]`; equal keys of one owner mean the same
        computation, which may therefore be recorded once and replayed. `constants`: what it uses beside them and the
        owner's own.
        """
        ...

    def forget(self, owner: object) -> None:
        """Drops what was recorded for `owner`, and its memory."""
        ...

    def forget_all(self) -> bool:
        """Drops everything that was recorded: from now on it is computed as usual. False if there was nothing."""
        ...

    def download(self, lane: str, tensors: Sequence[Tensor]) -> Download:
        """To the host, when `lane` has come that far."""
        ...

    def settle(self) -> None:
        """All lanes wait until what was just placed on the device is there."""
        ...

    def finish(self) -> None:
        """Waits until the device has done all that it was given."""
        ...

    def record(self, steps: Generator[Stage, None, T]) -> Generator[Stage, None, T]:
        """`steps`; what `call` meets in them for the first time is recorded."""
        ...

    @property
    def records(self) -> bool:
        """Whether `call` records what it meets during `record`."""
        ...

    @property
    def recorded_sizes(self) -> list[int]:
        """Sizes of batches that are worth a warm-up of their own."""
        ...


def batch_sizes(max_batch: int) -> list[int]:
    """1, 2, 4, ... up to the first that holds `max_batch`: the sizes that computations are recorded for."""
    sizes = [1]
    while sizes[-1] < max_batch:
        sizes.append(2 * sizes[-1])
    return sizes


class Arrived:
    """A download that took no time."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._arrays = [tensor.cpu().numpy() for tensor in tensors]

    def is_done(self) -> bool:
        return True

    def arrays(self) -> list[Array]:
        return self._arrays


class InlineLanes:
    """Everything at once, in the order of the calls: the CPU, and MPS."""

    pauses = True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def files(self) -> Lanes:
        return self

    def on(self, lane: str) -> AbstractContextManager[object]:
        return nullcontext()

    def upload(self, array: Array) -> Tensor:
        if self.device.type == "mps" and array.dtype == np.float64:
            array = array.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def join(self, lane: str, *others: str) -> None:
        pass

    def call(
        self,
        owner: object,
        key: Hashable,
        compute: Compute,
        tensors: Sequence[Tensor],
        constants: Sequence[Tensor] = (),
    ) -> Tensor:
        return compute(*tensors)

    def forget(self, owner: object) -> None:
        pass

    def forget_all(self) -> bool:
        return False

    def download(self, lane: str, tensors: Sequence[Tensor]) -> Download:
        return Arrived(tensors)

    def settle(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def record(self, steps: Generator[Stage, None, T]) -> Generator[Stage, None, T]:
        return steps

    @property
    def records(self) -> bool:
        return False

    @property
    def recorded_sizes(self) -> list[int]:
        return [1]

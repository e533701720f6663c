"""Computations recorded once and replayed: one launch in the place of hundreds.

A recording is for one owner (a network), one key, one size of a batch and one stream. Its inputs are copied to the
places where it was recorded to look for them, its output is copied out. Nothing is recorded but during a warm-up
(`is_recording`), so live work never waits for a recording; what cannot be recorded is computed as usual.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from anivoice.engine.streams import Compute

logger = logging.getLogger(__name__)

NUM_TRIAL_RUNS = 2
"""Before recording: libraries choose their algorithms and take their memory at the first runs."""

MAX_GRAPHS_PER_OWNER = 64
"""Beyond that the least recently used is dropped: every formant shift that somebody tries has recordings of its own."""


class Graph(Protocol):
    """torch.cuda.CUDAGraph"""

    def replay(self) -> None: ...

    def pool(self) -> Any: ...


class Cuda(Protocol):
    """What is used of torch.cuda."""

    CUDAGraph: Callable[[], Graph]

    def graph(
        self, cuda_graph: Any, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"
    ) -> AbstractContextManager[None]: ...

    def current_stream(self, device: Any = None) -> Any: ...

    def synchronize(self) -> None: ...


class Recording(NamedTuple):
    graph: Graph
    inputs: list[Tensor]
    output: Tensor
    constants: Sequence[Tensor]
    """They are held for as long as the recording looks for them."""


Key = tuple[Hashable, ...]
Recordings = OrderedDict[Key, Recording | None]
"""The least recently used first; None for what cannot be recorded."""


class GraphCache:
    """The recordings of one device. They go with their owner."""

    def __init__(self, cuda: Cuda, max_batch: int) -> None:
        self.is_recording = False
        self._cuda = cuda
        self.max_batch = max_batch
        self._of_owner: WeakKeyDictionary[object, Recordings] = WeakKeyDictionary()
        self._pools: dict[Hashable, Any] = {}

    def call(
        self,
        owner: object,
        key: Hashable,
        compute: Compute,
        tensors: Sequence[Tensor],
        constants: Sequence[Tensor] = (),
    ) -> Tensor:
        """`compute(*tensors)`, all `[B, ...]` and on the device, on the current stream."""
        stream = self._cuda.current_stream()
        size = batch_size_for(len(tensors[0]))
        full_key = (key, size, stream, *((tensor.shape[1:], tensor.dtype) for tensor in tensors))
        recordings = self._of_owner.setdefault(owner, OrderedDict())
        if full_key in recordings:
            recordings.move_to_end(full_key)
        elif self.is_recording and size <= batch_size_for(self.max_batch):
            self._make_room(recordings)
            inputs = [padded(tensor, size) for tensor in tensors]
            recordings[full_key] = self._record(compute, inputs, constants, stream, key)
        recording = recordings.get(full_key)
        return compute(*tensors) if recording is None else replay(recording, tensors)

    @property
    def num_recordings(self) -> int:
        """Those that can be replayed."""
        return sum(one is not None for recordings in self._of_owner.values() for one in recordings.values())

    def forget(self, owner: object) -> None:
        """Drops the owner's recordings."""
        if owner in self._of_owner:
            self._cuda.synchronize()  # they may just be replayed
            del self._of_owner[owner]

    def clear(self) -> bool:
        """Drops all recordings with their memory. False if there were none."""
        if self.num_recordings == 0:
            return False
        self._cuda.synchronize()
        self._of_owner.clear()
        self._pools.clear()
        return True

    def _make_room(self, recordings: Recordings) -> None:
        while len(recordings) >= MAX_GRAPHS_PER_OWNER:
            self._cuda.synchronize()
            recordings.popitem(last=False)

    def _record(
        self, compute: Compute, inputs: list[Tensor], constants: Sequence[Tensor], stream: Any, key: Hashable
    ) -> Recording | None:
        """None if it cannot be recorded; a failure of the computation itself is raised."""
        for _ in range(NUM_TRIAL_RUNS):
            compute(*inputs)
        graph = self._cuda.CUDAGraph()
        try:
            # Recordings of one stream never run at the same time: they can share their memory.
            with self._cuda.graph(
                graph, pool=self._pools.get(stream), stream=stream, capture_error_mode="thread_local"
            ):
                output = compute(*inputs)
        except RuntimeError as error:
            logger.warning("%s is computed without a CUDA graph: %s", key, str(error).splitlines()[:1])
            return None
        self._pools.setdefault(stream, graph.pool())
        return Recording(graph, inputs, output, constants)


def batch_size_for(num_rows: int) -> int:
    """The smallest power of two that is not below `num_rows`."""
    return 1 << (num_rows - 1).bit_length()


def padded(tensor: Tensor, size: int) -> Tensor:
    """A copy `[size, ...]` of `[B, ...]`, with its last row again where it has none."""
    index = torch.arange(size, device=tensor.device).clamp(max=len(tensor) - 1)
    return tensor[index]


def replay(recording: Recording, tensors: Sequence[Tensor]) -> Tensor:
    """The recorded computation of `tensors`; the rows beyond theirs are what was there before."""
    num_rows = len(tensors[0])
    for place, tensor in zip(recording.inputs, tensors, strict=True):
        place[:num_rows].copy_(tensor, non_blocking=True)
    recording.graph.replay()
    # The next replay overwrites the output, perhaps before another lane has read it.
    return recording.output[:num_rows].clone()

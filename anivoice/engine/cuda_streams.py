"""Lanes on a CUDA device: streams, events between them, pinned memory for what comes in and goes out."""

from collections.abc import Generator, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from anivoice.engine.batch import Stage
from anivoice.engine.cuda_graphs import Cuda, GraphCache
from anivoice.engine.streams import LANES, Array, Compute, Download, InlineLanes, Lanes, batch_sizes
from anivoice.models.pauses import pausing

T = TypeVar("T")

LIVE_PRIORITY = -1
"""Kernels of the lanes go before those of file conversions, which run on the default stream (priority 0)."""


class CudaStreams(Cuda, Protocol):
    """What is used of torch.cuda."""

    def Stream(self, device: torch.device, priority: int = 0) -> Any: ...  # noqa: N802

    def default_stream(self, device: torch.device) -> Any: ...

    def Event(self) -> Any: ...  # noqa: N802

    def stream(self, stream: Any) -> AbstractContextManager[Any]: ...


class PinnedDownload:
    """Tensors that are being copied into pinned memory. It keeps them alive until then."""

    def __init__(self, event: Any, hosts: list[Tensor], sources: Sequence[Tensor]) -> None:
        self._event = event
        self._hosts = hosts
        self._sources: Sequence[Tensor] = sources

    def is_done(self) -> bool:
        return bool(self._event.query())

    def arrays(self) -> list[Array]:
        self._sources = ()
        return [host.numpy().copy() for host in self._hosts]


class FileLanes(InlineLanes):
    """Everything on the default stream, whose priority is lower. Only for the copies out nobody waits."""

    def __init__(self, device: torch.device, cuda: CudaStreams, pins: bool) -> None:
        super().__init__(device)
        self._cuda = cuda
        self._pins = pins
        self._stream = cuda.default_stream(device)

    def download(self, lane: str, tensors: Sequence[Tensor]) -> Download:
        return start_download(self._cuda, self._stream, tensors, self._pins)


def start_download(cuda: CudaStreams, stream: Any, tensors: Sequence[Tensor], pins: bool) -> Download:
    """To pinned memory, when `stream` has come that far."""
    hosts = [torch.empty(t.shape, dtype=t.dtype, pin_memory=pins) for t in tensors]
    with cuda.stream(stream):
        for host, tensor in zip(hosts, tensors, strict=True):
            host.copy_(tensor, non_blocking=True)
        event = cuda.Event()
        event.record(stream)
    return PinnedDownload(event, hosts, tensors)


class CudaLanes:
    """Content, pitch and synthesizer on a stream each, copies in and out on two more. See `lanes.Lanes`.

    `graphs` None: every computation is launched anew. `cuda` is torch.cuda; without `pins` host memory is ordinary.
    """

    pauses = False

    def __init__(self, device: torch.device, cuda: CudaStreams, graphs: GraphCache | None, pins: bool = True) -> None:
        self.device = device
        self.graphs = graphs
        self._cuda = cuda
        self._pins = pins
        self._lanes = {lane: cuda.Stream(device, priority=LIVE_PRIORITY) for lane in LANES}
        self._copy_in = cuda.Stream(device, priority=LIVE_PRIORITY)
        self._copy_out = cuda.Stream(device, priority=LIVE_PRIORITY)
        self._default = cuda.default_stream(device)
        self.files = FileLanes(device, cuda, pins)

    def on(self, lane: str) -> AbstractContextManager[object]:
        return self._cuda.stream(self._lanes[lane])

    def upload(self, array: Array) -> Tensor:
        source = torch.from_numpy(np.ascontiguousarray(array))
        # torch gives pinned memory out again only when the copies from it are done.
        host = torch.empty(source.shape, dtype=source.dtype, pin_memory=self._pins).copy_(source)
        with self._cuda.stream(self._copy_in):
            tensor = host.to(self.device, non_blocking=True)
        for lane in self._lanes.values():
            lane.wait_stream(self._copy_in)
            if tensor.is_cuda:
                tensor.record_stream(lane)
        return tensor

    def join(self, lane: str, *others: str) -> None:
        for other in others:
            self._lanes[lane].wait_stream(self._lanes[other])

    def call(
        self,
        owner: object,
        key: Hashable,
        compute: Compute,
        tensors: Sequence[Tensor],
        constants: Sequence[Tensor] = (),
    ) -> Tensor:
        # A launch is quick, and nothing may come in between while it is recorded.
        with pausing(None):
            if self.graphs is None:
                return compute(*tensors)
            return self.graphs.call(owner, key, compute, tensors, constants)

    def forget(self, owner: object) -> None:
        if self.graphs is not None:
            self.graphs.forget(owner)

    def forget_all(self) -> bool:
        return self.graphs is not None and self.graphs.clear()

    def download(self, lane: str, tensors: Sequence[Tensor]) -> Download:
        self._copy_out.wait_stream(self._lanes[lane])
        return start_download(self._cuda, self._copy_out, tensors, self._pins)

    def settle(self) -> None:
        for lane in self._lanes.values():
            lane.wait_stream(self._default)

    def finish(self) -> None:
        self._cuda.synchronize()

    def record(self, steps: Generator[Stage, None, T]) -> Generator[Stage, None, T]:
        if self.graphs is None:
            return (yield from steps)
        while True:
            # Only during these steps: others' come in between.
            self.graphs.is_recording = True
            try:
                with pausing(None):
                    stage = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.graphs.is_recording = False
            yield stage

    @property
    def records(self) -> bool:
        return self.graphs is not None

    @property
    def recorded_sizes(self) -> list[int]:
        return [1] if self.graphs is None else batch_sizes(self.graphs.max_batch)


def build_lanes(device: torch.device, use_graphs: bool, max_batch: int) -> Lanes:
    """The lanes that suit `device`. `use_graphs` and `max_batch` concern CUDA alone."""
    if device.type != "cuda":
        return InlineLanes(device)
    cuda = cast(CudaStreams, torch.cuda)
    return CudaLanes(device, cuda, GraphCache(cuda, max_batch) if use_graphs else None)

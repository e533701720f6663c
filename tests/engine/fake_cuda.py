"""Stand-ins for torch.cuda and its graphs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from anivoice.engine.cuda_graphs import GraphCache, Recording
from anivoice.engine.streams import Compute


class FakeStream:
    def __init__(self, priority: int = 0) -> None:
        self.priority = priority
        self.waited_for: list[FakeStream] = []

    def wait_stream(self, other: "FakeStream") -> None:
        self.waited_for.append(other)


class FakeEvent:
    def __init__(self, cuda: "FakeCuda") -> None:
        self.cuda = cuda

    def record(self, stream: FakeStream) -> None:
        self.stream = stream

    def query(self) -> bool:
        return self.cuda.is_idle


class FakeGraph:
    def __init__(self) -> None:
        self.num_replays = 0

    def replay(self) -> None:
        self.num_replays += 1

    def pool(self) -> tuple[int, int]:
        return (1, id(self))


class FakeCuda:
    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.default = self.current = FakeStream()
        self.graphs: list[FakeGraph] = []
        self.pools: list[Any] = []
        self.is_idle = False
        self.num_waits = 0
        self.capture_error: Exception | None = None

    def Stream(self, device: torch.device, priority: int = 0) -> FakeStream:
        self.streams.append(FakeStream(priority))
        return self.streams[-1]

    def Event(self) -> FakeEvent:
        return FakeEvent(self)

    def CUDAGraph(self) -> FakeGraph:
        self.graphs.append(FakeGraph())
        return self.graphs[-1]

    def synchronize(self) -> None:
        self.num_waits += 1

    def default_stream(self, device: torch.device) -> FakeStream:
        return self.default

    def current_stream(self, device: torch.device | None = None) -> FakeStream:
        return self.current

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def graph(
        self, cuda_graph: FakeGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = ""
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.pools.append(pool)
        yield
        if self.capture_error is not None:
            raise self.capture_error


class Rehearsed:
    """A graph that does what a real one does: the computation as it was recorded, on what now lies in its inputs."""

    def __init__(self, compute: Compute, inputs: list[Tensor], output: Tensor) -> None:
        self.compute, self.inputs, self.output = compute, inputs, output
        self.num_replays = 0

    def replay(self) -> None:
        self.num_replays += 1
        self.output.copy_(self.compute(*self.inputs))

    def pool(self) -> None: ...


class RehearsedGraphs(GraphCache):
    def __init__(self, cuda: FakeCuda, max_batch: int) -> None:
        super().__init__(cuda, max_batch)
        self.graphs: list[Rehearsed] = []

    def _record(self, compute: Compute, inputs: list[Tensor], constants: Any, stream: Any, key: Any) -> Recording:
        output = compute(*inputs)
        self.graphs.append(Rehearsed(compute, inputs, output))
        return Recording(self.graphs[-1], inputs, output, constants)

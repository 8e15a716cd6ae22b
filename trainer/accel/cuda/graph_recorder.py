"""CUDA graphs in one pool of memory, replayed in the order in which they were captured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")


class CudaGraphRecorder:
    """Capture work on a stream beside the default one, which capture does not allow."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no types
        self._graphs: list[torch.cuda.CUDAGraph] = []

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run a block on the stream of the captures."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Capture `work`. Threads that gather rows or copy a checkpoint may run meanwhile."""
        graph = torch.cuda.CUDAGraph()
        pool = self._graphs[0].pool() if self._graphs else None
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            result = work()
        self._graphs.append(graph)
        return result, graph.replay

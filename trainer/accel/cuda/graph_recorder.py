"""CUDA graphs in one pool of memory, replayed in the order in which they were captured."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch

Result = TypeVar("Result")


class CudaGraphRecorder:
    """Capture work on a stream beside the default one, which capture does not allow."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no types
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._pool = torch.cuda.MemPool()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run a block on the stream of the captures.

        Once there are graphs, it runs in their memory: what they leave free until their next replay
        is enough for a smaller batch, whose tensors must be gone by then.
        """
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), self._memory_of_graphs():
            yield
        current.wait_stream(self._stream)

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Capture `work`. Threads that gather rows or copy a checkpoint may run meanwhile."""
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._device)
        # The outer block restores the current stream: a capture that fails may leave its own.
        with (
            torch.cuda.stream(current),
            torch.cuda.graph(
                graph,
                pool=self._pool.id,  # type: ignore[arg-type]  # torch names its type anew
                stream=self._stream,
                capture_error_mode="thread_local",
            ),
        ):
            result = work()
        self._graphs.append(graph)
        return result, graph.replay

    def forget(self) -> None:
        """Drop all graphs and give their memory back."""
        for graph in self._graphs:
            graph.reset()
        self._graphs.clear()
        self._pool = torch.cuda.MemPool()
        torch.cuda.empty_cache()

    def _memory_of_graphs(self) -> AbstractContextManager[None]:
        if not self._graphs:
            return nullcontext()
        # While a pool is in use, torch does not release what others cache, even if it must fail:
        # https://github.com/pytorch/pytorch/issues/159674
        torch.cuda.empty_cache()
        return torch.cuda.use_mem_pool(self._pool)

"""Replacements for `torch.cuda` while the pretend GPU is there."""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.support.pretend_gpu.attention import attention
from tests.support.pretend_gpu.backward import backward
from tests.support.pretend_gpu.counts import Memory, Pool, Recording
from tests.support.pretend_gpu.device import PretendGpu

NAME = "Pretend GPU"


@contextmanager
def pretend_gpu(*, devices: int = 1, total_bytes: int = 24 << 30) -> Iterator[PretendGpu]:
    """Put a GPU into this thread's torch for as long as the block runs."""
    gpu = PretendGpu()
    lifts = torch._C._only_lift_cpu_tensors()
    with ExitStack() as stack:
        for name, answer in _answers(gpu, devices, total_bytes).items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(torch.Tensor, "backward", backward))
        stack.enter_context(mock.patch.object(torch.nn.Module, "_apply", _apply))
        stack.enter_context(mock.patch.object(F, "scaled_dot_product_attention", attention))
        torch._C._ensureCUDADeviceGuardSet()
        # torch.tensor(..., device="cuda") is a copy from the CPU.
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifts)
        stack.enter_context(gpu)
        yield gpu


def _answers(gpu: PretendGpu, devices: int, total_bytes: int) -> dict[str, object]:
    """Return what is put in the place of each name of torch.cuda."""
    properties = SimpleNamespace(
        total_memory=total_bytes, major=9, minor=0, name=NAME, multi_processor_count=132
    )
    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: False,
        "device_count": lambda: devices,
        "current_device": lambda: gpu.current_device,
        "_exchange_device": gpu.exchange_device,
        "_maybe_exchange_device": gpu.exchange_device,
        "get_device_properties": lambda *_: properties,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_name": lambda *_: NAME,
        "is_bf16_supported": lambda *_, **__: True,
        "max_memory_allocated": lambda *_: gpu.memory.peak_bytes,
        "empty_cache": lambda: None,
        "synchronize": lambda *_: gpu.wait("torch.cuda.synchronize"),
        "is_current_stream_capturing": lambda: gpu.is_capturing,
        **_work(gpu),
    }


def _work(gpu: PretendGpu) -> dict[str, object]:
    """Return what is put in the place of streams, events and graphs."""
    thread = threading.get_ident()

    def stream_of(device: torch.device | str | int | None = None, **_: object) -> _Stream:
        index = None if device is None else torch.device(device).index
        return _Stream(gpu, gpu.current_device if index is None else index)

    @contextmanager
    def on_stream(stream: _Stream) -> Iterator[None]:
        gpu.counts.streams[stream.name] += 1
        yield

    class Event(_Event):
        def record(self, stream: _Stream | None = None) -> None:
            """Mark the end of what was launched on a stream. Raises RuntimeError without one.

            CUDA would take the current device's, beside the stream that does the work of another.
            """
            if stream is None:
                raise RuntimeError("an event is recorded without naming its stream")
            gpu.counts.streams[stream.name] += 1

        def synchronize(self) -> None:
            if threading.get_ident() == thread:
                gpu.wait("Event.synchronize")

    class Graph(_Graph):
        def replay(self) -> None:
            gpu.replay(self.recording)

    @contextmanager
    def graph(
        cuda_graph: Graph,
        *,
        stream: _Stream | None = None,
        pool: _PoolHandle | None = None,
        **_: object,
    ) -> Iterator[None]:
        gpu.counts.streams[(stream or stream_of()).name] += 1
        handle = cuda_graph.handle = pool or _PoolHandle(gpu.memory)
        with gpu.capture(handle.pool) as recording:
            yield
        cuda_graph.recording = recording

    return {
        "Stream": stream_of,
        "current_stream": stream_of,
        "stream": on_stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": graph,
        "MemPool": lambda: SimpleNamespace(id=_PoolHandle(gpu.memory)),
        "use_mem_pool": lambda pool: gpu.allocating_from(pool.id.pool),
    }


@torch.no_grad()
def _apply(
    self: torch.nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True
) -> torch.nn.Module:
    """Move a module. Torch's own changes parameters in place, and none can become fake so."""
    if recurse:
        for child in self.children():
            _apply(child, fn)
    for name, parameter in self._parameters.items():
        if parameter is not None:
            moved = torch.nn.Parameter(fn(parameter), parameter.requires_grad)
            self._parameters[name] = moved
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = fn(buffer)
    return self


class _Stream:
    """A stream of one device: work is counted, not ordered."""

    def __init__(self, gpu: PretendGpu, index: int) -> None:
        self._gpu = gpu
        self.name = f"cuda:{index}"

    def wait_stream(self, other: object) -> None:
        """Order work on the device, for which no host waits."""

    def wait_event(self, event: object) -> None:
        """Order work on the device, for which no host waits."""

    def synchronize(self) -> None:
        """Make the host wait."""
        self._gpu.wait("Stream.synchronize")


class _Event:
    """A mark that the device has always passed."""

    def __init__(self, **_: object) -> None: ...

    def query(self) -> bool:
        """Return whether the device is past it."""
        return True

    def elapsed_time(self, end: object) -> float:
        """Return milliseconds."""
        del end
        return 1.0


class _Graph:
    """Work that was captured."""

    recording: Recording
    handle: "_PoolHandle | None"

    def reset(self) -> None:
        """Leave its memory to the others."""
        self.handle = None


class _PoolHandle:
    """Name of the memory of some graphs, which ends with the last of them."""

    def __init__(self, memory: Memory) -> None:
        self.pool = Pool()
        weakref.finalize(self, memory.close, self.pool)

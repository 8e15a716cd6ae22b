"""Copy of a run's state in host memory, written to disk while training continues."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Snapshot:
    """Memory for one state, made for the first copy and used again for each later one.

    Copies from a GPU go to pinned memory, ordered after the last launched step and before later
    ones. The host does not wait for them.
    """

    def __init__(self, device: torch.device) -> None:
        """`device` is where the states are."""
        self._device, self._on_gpu = device, device.type == "cuda"
        self._held: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    @torch.no_grad()
    def take(self, state: Mapping[str, Tensor]) -> None:
        """Copy all tensors, row-major whatever their memory order. `state` may change then."""
        held = {name: self._room(name, value) for name, value in state.items()}
        for name, value in state.items():
            held[name].copy_(value, non_blocking=self._on_gpu)
        self._held = held
        if self._on_gpu:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types here
            # Without a stream it marks the current device's, which may be idle beside this one.
            self._copied.record(torch.cuda.current_stream(self._device))

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the latest copy, on the CPU. Waits for the copy; any thread may ask."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._held

    def _room(self, name: str, value: Tensor) -> Tensor:
        old = self._held.get(name)
        if old is not None and old.shape == value.shape and old.dtype == value.dtype:
            return old
        return torch.empty(value.shape, dtype=value.dtype, pin_memory=self._on_gpu)

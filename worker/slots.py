"""Slots of a worker: each names a device, and an attempt holds as many as its job asks for."""

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from worker.process.shutdown import WakePipe

CPU: Final = "cpu"
"""Name of a slot without a GPU; all others are UUIDs, `GPU-...` or `MIG-...`."""


def slot_devices(gpus: Sequence[str], *, names: str, count: int | None) -> tuple[str, ...]:
    """Return the device of each slot. `gpus` are the UUIDs that `names`, MOCO_DEVICE, leaves.

    One slot for each device unless `count` says otherwise: then they take turns, so that a count
    above their number lets jobs share them.
    """
    devices = tuple(gpus) or (CPU,) * len(names.split(","))
    return tuple(devices[i % len(devices)] for i in range(count or len(devices)))


def device_label(cards: Iterable[int]) -> str:
    """Return the devices of a worker for people to read: `cpu`, `cuda:1`, `cuda:0-7`.

    `cards` are the numbers of its GPUs on this machine, negative where they are not known.
    """
    numbers = sorted(set(cards))
    if not numbers:
        return CPU
    if numbers[0] < 0:
        return "cuda"
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"cuda:{numbers[0]}-{numbers[-1]}"
    return "cuda:" + ",".join(map(str, numbers))


def threads_of_a_slot(slots: int) -> int | None:
    """Return the threads of each slot's process, its share of the cores; None: one per core."""
    return None if slots == 1 else max(1, len(os.sched_getaffinity(0)) // slots)


@dataclass(frozen=True, eq=False)
class Slot:
    """Right to run one training process on a device."""

    device: str
    wake_pipe: WakePipe


@dataclass(frozen=True)
class Allocation:
    """Slots that one attempt holds; the pipe of the first wakes its monitor."""

    slots: tuple[Slot, ...]

    @property
    def wake_pipe(self) -> WakePipe:
        """Pipe that wakes the attempt's monitor."""
        return self.slots[0].wake_pipe

    @property
    def devices(self) -> tuple[str, ...]:
        """Name of each slot's device."""
        return tuple(slot.device for slot in self.slots)

    @property
    def device(self) -> str:
        """Device in the child's words: it sees its own GPUs only, so the first is `cuda:0`."""
        return CPU if self.devices[0] == CPU else "cuda:0"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the child: they hide every GPU but its own."""
        return {} if self.device == CPU else {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)}


class SlotPool:
    """Slots of one worker, free or busy. Safe to use from several threads."""

    def __init__(self, devices: Iterable[str]) -> None:
        """Make a free slot for each device."""
        self._slots = tuple(Slot(device, WakePipe()) for device in devices)
        self._free = list(self._slots)
        self._drained: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def wake_pipes(self) -> tuple[WakePipe, ...]:
        """Pipes of all slots."""
        return tuple(slot.wake_pipe for slot in self._slots)

    @property
    def devices(self) -> tuple[str, ...]:
        """Name of each slot's device."""
        return tuple(slot.device for slot in self._slots)

    @property
    def drained(self) -> dict[str, str]:
        """Devices that take no jobs until `undrain`, each with the reason."""
        with self._lock:
            return dict(self._drained)

    def __len__(self) -> int:
        with self._lock:
            return len(self._usable(self._slots))

    @property
    def busy(self) -> int:
        """Number of slots that attempts hold."""
        with self._lock:
            return len(self._slots) - len(self._free)

    @property
    def free(self) -> int:
        """Most slots that one job can have now."""
        with self._lock:
            return len(_together(self._usable(self._free)))

    @property
    def total(self) -> int:
        """Most slots that one job can have once all are free."""
        with self._lock:
            return len(_together(self._usable(self._slots)))

    def take(self, count: int) -> Allocation:
        """Take `count` free slots. Raises ValueError if there are not so many.

        Those that were drained since they were offered are taken if need be.
        """
        with self._lock:
            chosen = _chosen(self._usable(self._free), count)
            if len(chosen) < count:
                chosen = _chosen(self._free, count)
            if len(chosen) < count:
                raise ValueError(f"{count} slots asked for, {len(chosen)} free")
            for slot in chosen:
                self._free.remove(slot)
        return Allocation(tuple(chosen))

    def give_back(self, allocation: Allocation) -> None:
        """Make the slots free again, in their order."""
        with self._lock:
            free = {*self._free, *allocation.slots}
            self._free = [slot for slot in self._slots if slot in free]

    def drain(self, device: str, reason: str) -> None:
        """Give the slots of a device to no job any more; running jobs keep them."""
        with self._lock:
            self._drained[device] = reason

    def undrain(self) -> None:
        """Let all slots take jobs again."""
        with self._lock:
            self._drained.clear()

    def _usable(self, slots: Sequence[Slot]) -> list[Slot]:
        return [slot for slot in slots if slot.device not in self._drained]


def _chosen(free: Sequence[Slot], count: int) -> list[Slot]:
    """Return the slots for one job, fewer than `count` if there are not so many."""
    return list(free[:1]) if count == 1 else _together(free)[:count]


def _together(slots: Sequence[Slot]) -> list[Slot]:
    """Return the most slots that one job could have of these.

    Any on the CPU; one for each GPU, for no two ranks of a job can share one; a MIG instance only
    alone, for CUDA gives a process no second one.
    """
    first = {slot.device: slot for slot in reversed(slots)}
    whole = [slot for slot in first.values() if not slot.device.startswith("MIG-")]
    chosen = slots if CPU in first else whole or slots[:1]
    return [slot for slot in slots if slot in chosen]

"""Cards of this machine as NVML lists them, in PCI order. Nothing here starts CUDA.

NVML is opened for each look and closed again, so that a driver can be updated under a worker.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

Handle = Any
"""NVML's own type of a GPU or a MIG instance."""


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One GPU, or one MIG instance of a GPU: what one process of a job can be given."""

    uuid: str
    """`GPU-...` or `MIG-...`, the name that CUDA_VISIBLE_DEVICES takes."""
    name: str
    """Model, such as `NVIDIA H200`."""
    memory_bytes: int | None
    capability: tuple[int, int] | None
    """Compute capability: (9, 0) is sm_90."""
    card: int
    """Number of the GPU on this machine, in PCI order; -1 if only CUDA knows it."""
    card_uuid: str
    """UUID of the whole GPU; its own unless it is a MIG instance."""

    @property
    def is_mig(self) -> bool:
        """True for a part of a GPU. CUDA gives a process at most one of those."""
        return self.uuid.startswith("MIG-")

    @property
    def has_bf16(self) -> bool:
        """True if the card computes in bf16; older ones emulate it, slowly."""
        return self.capability is None or self.capability >= (8, 0)


@dataclass(frozen=True, slots=True)
class Machine:
    """GPUs of a machine, before any is chosen."""

    devices: tuple[GpuDevice, ...]
    cards: int
    driver: str
    cuda: tuple[int, int] | None
    """Newest CUDA version that the driver runs."""
    problems: tuple[str, ...]
    """Sentences about cards that take no work."""


@contextmanager
def opened() -> Iterator[None]:
    """Open NVML for a block. Raises `pynvml.NVMLError` if there is no usable driver."""
    pynvml.nvmlInit()
    try:
        yield
    finally:
        optional(pynvml.nvmlShutdown)


def optional(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    """Return what NVML answers, None where this card or driver does not support the question."""
    try:
        return function(*arguments)
    except (pynvml.NVMLError, ctypes.ArgumentError):
        return None


def read_machine() -> Machine:
    """Return every GPU and instance. Raises `pynvml.NVMLError` if there is no usable driver."""
    gpus: list[GpuDevice] = []
    problems: list[str] = []
    with opened():
        cards = int(pynvml.nvmlDeviceGetCount())
        for card in range(cards):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(card)
                on_card = _gpus_of(handle, card)
            except pynvml.NVMLError as error:
                problems.append(
                    f"GPU {card} does not answer ({error}). Look for Xid messages in `dmesg`; "
                    "a reset (`nvidia-smi --gpu-reset`) or a reboot brings most back."
                )
                continue
            if problem := _problem_of(handle, on_card):
                problems.append(f"GPU {card} {problem}")
            else:
                gpus += on_card
        return Machine(
            devices=tuple(gpus),
            cards=cards,
            driver=str(pynvml.nvmlSystemGetDriverVersion()),
            cuda=cuda_version(optional(pynvml.nvmlSystemGetCudaDriverVersion)),
            problems=tuple(problems),
        )


def cuda_version(number: int | None) -> tuple[int, int] | None:
    """Return (13, 2) for NVML's 13020."""
    return None if number is None else (number // 1000, number % 1000 // 10)


def handles() -> dict[str, Handle]:
    """Return the handle of every GPU and instance by its UUID, while NVML is open.

    Cards are looked up by number: a look-up by UUID fails for all of them once one is lost.
    """
    cards = (
        optional(pynvml.nvmlDeviceGetHandleByIndex, card)
        for card in range(pynvml.nvmlDeviceGetCount())
    )
    every = [each for card in cards if card is not None for each in (card, *instances(card))]
    uuids = [optional(pynvml.nvmlDeviceGetUUID, handle) for handle in every]
    return {str(uuid): handle for uuid, handle in zip(uuids, every, strict=True) if uuid}


def has_mig(handle: Handle) -> bool:
    """Return whether a card is in MIG mode now."""
    modes = optional(pynvml.nvmlDeviceGetMigMode, handle)
    return bool(modes) and modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def _gpus_of(handle: Handle, card: int) -> list[GpuDevice]:
    """Return the card itself, or in MIG mode its instances."""
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    capability = optional(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    parts = instances(handle) if has_mig(handle) else [handle]
    return [
        GpuDevice(
            uuid=str(pynvml.nvmlDeviceGetUUID(each)),
            name=str(optional(pynvml.nvmlDeviceGetName, each) or "unknown GPU"),
            memory_bytes=_memory_bytes(each),
            capability=tuple(capability) if capability else None,
            card=card,
            card_uuid=uuid,
        )
        for each in parts
    ]


def _problem_of(handle: Handle, gpus: list[GpuDevice]) -> str | None:
    """Return why a card that answers takes no work."""
    if optional(pynvml.nvmlDeviceGetComputeMode, handle) == pynvml.NVML_COMPUTEMODE_PROHIBITED:
        return "is in compute mode Prohibited. Allow work on it with `nvidia-smi -c 0`."
    if not gpus:
        return (
            "is in MIG mode but has no instance. Create some with `nvidia-smi mig -cgi ... -C`, "
            "or leave the mode with `nvidia-smi -mig 0`."
        )
    return None


def instances(handle: Handle) -> list[Handle]:
    """Return the MIG instances of a card; numbers without one are passed over."""
    if not has_mig(handle):
        return []
    count = optional(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    by_number = (
        optional(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
        for number in range(count)
    )
    return [instance for instance in by_number if instance is not None]


def _memory_bytes(handle: Handle) -> int | None:
    memory = optional(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return None if memory is None else int(memory.total)

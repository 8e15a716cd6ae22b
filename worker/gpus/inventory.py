"""GPUs that this worker may use, taken once when it starts.

`inventory` is the only question that the rest of the worker asks. It never returns the CPU where a
GPU was named or is there and cannot be used: then it raises.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pynvml

from worker.gpus.cuda_probe import CudaAnswer, TorchBuild, ask_cuda
from worker.gpus.fitness import bf16_note, card_problem, driver_problem, start_problem
from worker.gpus.gpu_names import UnknownName, match, match_device, split
from worker.gpus.nvml import GpuDevice, Machine, read_machine

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICE_FILE = Path("/dev/nvidiactl")
"""Exists where the kernel's part of the driver is loaded, in a container as well."""
ON_THE_CPU = "To train on the CPU, set MOCO_DEVICE=cpu."


class UnusableDevice(ValueError):
    """A GPU was named, or is there, and cannot be used."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Devices of one worker. None: it trains on the CPU."""

    devices: tuple[GpuDevice, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    torch: TorchBuild | None = None
    notes: tuple[str, ...] = ()
    """Sentences for the log: cards that were left out, cards without bf16."""


def inventory(device: str = "auto") -> Inventory:
    """Return the GPUs that `device`, a value of MOCO_DEVICE, and CUDA_VISIBLE_DEVICES leave.

    Raises UnusableDevice with a sentence: what is wrong, where, and what to do next.
    """
    if "cpu" in split(device):
        return _cpu(device)
    names = None if VISIBLE not in os.environ else split(os.environ[VISIBLE])
    if device == "auto" and names == []:
        return Inventory()
    machine = _machine(named=device != "auto" or bool(names))
    if machine is None:
        return Inventory()
    visible = machine.devices if names is None else _visible(names, machine.devices)
    chosen = _chosen(device, visible)
    if not chosen:
        return _none_left(machine)
    answer = ask_cuda(names_for_cuda(chosen))
    usable, left_out = _usable(chosen, answer, machine, named=device != "auto" or bool(names))
    notes = (*machine.problems, *left_out, *filter(None, map(bf16_note, dict.fromkeys(usable))))
    return Inventory(usable, machine.driver, machine.cuda, answer.build, notes)


def names_for_cuda(gpus: Sequence[GpuDevice]) -> str:
    """Return a value of CUDA_VISIBLE_DEVICES with as many of these as one process can see.

    CUDA gives a process one MIG instance alone, and stops at a name that it does not know: cards
    that may be too old for it come last.
    """
    whole = {gpu.uuid: gpu for gpu in gpus if not gpu.is_mig}
    newest = sorted(whole.values(), key=lambda gpu: gpu.capability or (0, 0), reverse=True)
    return ",".join(gpu.uuid for gpu in newest or gpus[:1])


def _cpu(device: str) -> Inventory:
    """Return no GPUs. Raises UnusableDevice if `device` names some beside the CPU."""
    if set(split(device)) != {"cpu"}:
        raise UnusableDevice(
            f"MOCO_DEVICE is {device}, but a worker has GPUs or the CPU. Start one worker for each."
        )
    return Inventory()


def _machine(*, named: bool) -> Machine | None:
    """Return what NVML lists; None on a machine without GPUs where none was named."""
    try:
        return read_machine()
    except pynvml.NVMLError as error:
        missing = isinstance(error, pynvml.NVMLError_LibraryNotFound)
        if missing and not DEVICE_FILE.exists():
            return Machine((), 0, "", None, ()) if named else None
        raise UnusableDevice(f"{_driver_sentence(error, missing=missing)} {ON_THE_CPU}") from error


def _driver_sentence(error: pynvml.NVMLError, *, missing: bool) -> str:
    if missing:
        return (
            f"{DEVICE_FILE} is there, but libnvidia-ml.so.1 cannot be loaded. In a container, give "
            "it NVIDIA_DRIVER_CAPABILITIES=compute,utility."
        )
    if isinstance(error, pynvml.NVMLError_LibRmVersionMismatch):
        return (
            "The NVIDIA driver was updated while it was loaded (driver/library version mismatch). "
            "Reboot, or reload its kernel modules."
        )
    return (
        f"The NVIDIA driver does not answer (nvmlInit: {error}). See what `nvidia-smi` says; after "
        "an update of the kernel, install the driver again or reboot."
    )


def _visible(names: Sequence[str], gpus: Sequence[GpuDevice]) -> tuple[GpuDevice, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, in its order."""
    chosen = [gpu for name in names for gpu in _named(VISIBLE, name, gpus)]
    uuids = [gpu.uuid for gpu in chosen]
    for uuid in uuids:
        if uuids.count(uuid) > 1:
            raise UnusableDevice(f"{VISIBLE} names {uuid} more than once. Name it once.")
    return tuple(chosen)


def _chosen(device: str, visible: Sequence[GpuDevice]) -> tuple[GpuDevice, ...]:
    """Return the GPUs that MOCO_DEVICE, one name or a list, names among the visible ones.

    A GPU that is named twice has two slots.
    """
    chosen: list[GpuDevice] = []
    for name in split(device):
        try:
            chosen += match_device(name, visible)
        except UnknownName as error:
            if VISIBLE in os.environ or not _is_uuid(name):
                raise _refusal("MOCO_DEVICE", error) from error
            chosen += _named("MOCO_DEVICE", name, visible)
    return tuple(chosen)


def _named(variable: str, name: str, gpus: Sequence[GpuDevice]) -> list[GpuDevice]:
    """Return the GPUs of a name; CUDA is asked about a UUID that NVML does not know."""
    try:
        return match(name, gpus)
    except UnknownName as error:
        devices = ask_cuda(name).devices if _is_uuid(name) or not gpus else ()
        if len(devices) != 1:
            raise _refusal(variable, error) from error
        only = devices[0]
        return [GpuDevice(name, only.name, only.memory_bytes, only.capability, -1, name)]


def _is_uuid(name: str) -> bool:
    return name.startswith(("GPU-", "MIG-"))


def _refusal(variable: str, error: UnknownName) -> UnusableDevice:
    return UnusableDevice(
        f"{variable} names {error.name}, which cannot be used: {error}. Correct {variable}, or "
        f"unset it for all GPUs. {ON_THE_CPU}"
    )


def _none_left(machine: Machine) -> Inventory:
    """Return the CPU for a machine without a GPU. Raises UnusableDevice if its GPUs are broken."""
    if machine.problems:
        raise UnusableDevice(f"{' '.join(machine.problems)} {ON_THE_CPU}")
    return Inventory()


def _usable(
    gpus: Sequence[GpuDevice], answer: CudaAnswer, machine: Machine, *, named: bool
) -> tuple[tuple[GpuDevice, ...], list[str]]:
    """Return the GPUs that torch can use, and a sentence for each of the others.

    Raises UnusableDevice if no GPU is left, or if the GPUs were named.
    """
    problems = {gpu.uuid: text for gpu in gpus if (text := card_problem(gpu, answer.build))}
    fitting = {name for name in names_for_cuda(gpus).split(",") if name not in problems}
    problem = driver_problem(
        answer.build, driver=machine.driver, cuda=machine.cuda
    ) or start_problem(answer, expected=len(fitting))
    if problem:
        raise UnusableDevice(f"{problem} {ON_THE_CPU}")
    usable = tuple(gpu for gpu in gpus if gpu.uuid not in problems)
    if problems and (named or not usable):
        raise UnusableDevice(f"{' '.join(problems.values())} {ON_THE_CPU}")
    return usable, list(problems.values())

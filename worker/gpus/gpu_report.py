"""Report on the GPUs of this machine for `moco doctor`: what a worker would use, and refuse.

`python -m worker.gpus [DEVICE]` prints it as JSON; DEVICE is a value of MOCO_DEVICE.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pynvml

from worker.gpus.condition import CardCondition, Path, read_conditions, read_paths
from worker.gpus.cuda_probe import TorchBuild, ask_cuda
from worker.gpus.fitness import bf16_note, card_problem, dotted, driver_problem
from worker.gpus.inventory import Inventory, UnusableDevice, inventory, names_for_cuda
from worker.gpus.nvml import GpuDevice, Machine, read_machine
from worker.gpus.sensors import GpuReading, read_gpus

SHARED_MEMORY = "/dev/shm"
SHARED_MEMORY_MIN_BYTES = 1 << 30
"""Enough for the buffers of NCCL between 16 GPUs without peer access."""
State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report, in the form of the checks of `moco doctor`."""

    name: str
    state: State
    finding: str
    next: str = ""
    gpu: dict[str, Any] = field(default_factory=dict)
    """Facts about one GPU, for programs."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields; `gpu` only where there are facts."""
        values = asdict(self)
        return values if self.gpu else {name: v for name, v in values.items() if name != "gpu"}


def report(device: str) -> list[Finding]:
    """Return the findings about this machine's GPUs, none of them an exception."""
    try:
        machine = read_machine()
    except pynvml.NVMLError:
        machine = None
    if machine is None or not machine.cards:
        return [_choice(device)]
    build = ask_cuda(names_for_cuda(machine.devices)).build
    choice = _choice(device)
    broken: State = "fail" if choice.state == "fail" else "warn"
    return [
        _driver(machine, build, broken),
        *(Finding("gpu", "warn", problem) for problem in machine.problems),
        *(
            finding
            for condition in read_conditions()
            for finding in (
                *_gpus_on(condition, machine.devices, build, broken),
                *_warnings(condition),
            )
        ),
        *_between(machine.devices),
        choice,
    ]


def _driver(machine: Machine, build: TorchBuild | None, broken: State) -> Finding:
    runs = f", runs CUDA {dotted(machine.cuda)}" if machine.cuda else ""
    wheel = f"; torch {build.version}" if build else ""
    built = f" is built for CUDA {dotted(build.cuda)}" if build and build.cuda else ""
    finding = f"{machine.driver}{runs}{wheel}{built}"
    problem = driver_problem(build, driver=machine.driver, cuda=machine.cuda)
    return Finding("gpu driver", broken if problem else "ok", finding, problem or "")


def _gpus_on(
    condition: CardCondition, gpus: Sequence[GpuDevice], build: TorchBuild | None, broken: State
) -> Iterator[Finding]:
    """Yield one line for the card, or for each of its MIG instances."""
    on_card = [gpu for gpu in gpus if gpu.card == condition.card]
    readings = {reading.uuid: reading for reading in read_gpus(gpu.uuid for gpu in on_card)}
    for gpu in on_card:
        facts = _facts(gpu, condition, readings.get(gpu.uuid))
        yield _gpu(gpu, card_problem(gpu, build), broken, facts)


def _gpu(gpu: GpuDevice, problem: str | None, broken: State, facts: dict[str, Any]) -> Finding:
    words = [f"{gpu.name}, {gpu.uuid}"]
    if gpu.memory_bytes:
        words.append(f"{gpu.memory_bytes / 2**30:.0f} GiB")
    if gpu.capability:
        words.append(f"sm_{gpu.capability[0]}{gpu.capability[1]}")
    words.append("bf16" if gpu.has_bf16 else "no bf16")
    if missing := facts["missing_sensors"]:
        words.append(f"no sensor for {', '.join(missing)}")
    if problem:
        words.append("cannot be used")
    note = bf16_note(gpu)
    state: State = broken if problem else "warn" if note else "ok"
    return Finding(f"gpu {gpu.card}", state, ", ".join(words), problem or note or "", facts)


def _facts(gpu: GpuDevice, condition: CardCondition, reading: GpuReading | None) -> dict[str, Any]:
    """Return what a program wants to know about a GPU."""
    missing = reading.missing if reading else ()
    return asdict(gpu) | {
        "mig": gpu.is_mig,
        "bf16": gpu.has_bf16,
        "missing_sensors": [name.rpartition("_")[0].replace("_", " ") for name in missing],
        "condition": condition.as_json(),
    }


def _warnings(condition: CardCondition) -> Iterator[Finding]:
    """Yield a warning for each mode or error that disturbs work."""
    name = f"gpu {condition.card}"
    if condition.compute_mode == "exclusive":
        hint = "Another process on it makes jobs fail. `nvidia-smi -c 0` lifts the limit."
        yield Finding(name, "warn", "compute mode is exclusive: one process at a time", hint)
    if condition.persistence is False:
        hint = "Run nvidia-persistenced, or `nvidia-smi -pm 1`."
        yield Finding(name, "warn", "persistence mode is off: jobs start seconds later", hint)
    if condition.uncorrected_errors:
        finding = f"{condition.uncorrected_errors} memory errors that ECC could not correct"
        hint = "Reset it (`nvidia-smi --gpu-reset`) or reboot; replace it if they come back."
        yield Finding(name, "warn", finding, hint)
    if condition.remap_pending:
        hint = "Reset it (`nvidia-smi --gpu-reset`) or reboot before long jobs."
        yield Finding(name, "warn", "rows of its memory wait to be replaced", hint)
    if condition.remap_failed:
        hint = "Replace the card; leave it out of MOCO_DEVICE until then."
        yield Finding(name, "fail", "rows of its memory could not be replaced", hint)


def _between(gpus: Sequence[GpuDevice]) -> Iterator[Finding]:
    """Yield findings for jobs that run on several GPUs of this machine."""
    whole = [gpu for gpu in gpus if not gpu.is_mig]
    if len(whole) < 2:
        return
    if len({gpu.name for gpu in whole}) > 1:
        hint = "A job on several GPUs runs at the speed of the slowest: one worker for each model."
        yield Finding("gpu models", "warn", "unlike cards", hint)
    yield _paths(read_paths(whole))
    yield _shared_memory()


def _paths(paths: dict[tuple[int, int], Path]) -> Finding:
    slow = [f"{a}-{b}" for (a, b), path in paths.items() if path == "host memory"]
    if slow:
        hint = "Gradients go through host memory there. In a virtual machine, allow peer access."
        return Finding("gpu paths", "warn", f"no peer access: {', '.join(slow)}", hint)
    kinds = sorted(set(paths.values()))
    return Finding("gpu paths", "ok", " and ".join(kinds) if kinds else "not known")


def _shared_memory() -> Finding:
    try:
        volume = os.statvfs(SHARED_MEMORY)
    except OSError:
        return Finding("shared memory", "warn", f"no {SHARED_MEMORY}", "Mount a tmpfs there.")
    size = volume.f_blocks * volume.f_frsize
    finding = f"{size / 2**30:.1f} GiB in {SHARED_MEMORY}"
    if size < SHARED_MEMORY_MIN_BYTES:
        hint = "Jobs on several GPUs may need more: `shm_size: 1g` in docker-compose.yml."
        return Finding("shared memory", "warn", finding, hint)
    return Finding("shared memory", "ok", finding)


def _choice(device: str) -> Finding:
    """Return what a worker with this MOCO_DEVICE would do."""
    try:
        chosen = inventory(device)
    except UnusableDevice as error:
        return Finding("devices", "fail", "a worker would refuse to start", str(error))
    return Finding("devices", "ok", _slots(chosen))


def _slots(chosen: Inventory) -> str:
    cores = f"{len(os.sched_getaffinity(0))} cores"
    if not chosen.devices:
        return cores
    number = len(chosen.devices)
    return f"{number} GPU{'s' if number > 1 else ''} for a worker, {cores}"

"""NVIDIA cards that exist only for `pynvml`: its functions are replaced, its constants are not.

In a process of the test: `install(machine)`, through the fixture that undoes it. In processes that
a test starts: `environment(machine)`, which makes `site/sitecustomize.py` install the same there.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 1 << 30
SITE = Path(__file__).with_name("site")
VARIABLE = "FAKE_NVML"


@dataclass(frozen=True)
class FakeInstance:
    """One MIG instance."""

    uuid: str
    name: str = "NVIDIA A100-SXM4-80GB MIG 1g.10gb"
    memory_bytes: int = 10 * GIB


@dataclass(frozen=True)
class FakeCard:
    """One card. `errors` maps a function of pynvml to the code that it raises for this card."""

    uuid: str
    name: str = "NVIDIA H200"
    capability: tuple[int, int] = (9, 0)
    memory_bytes: int = 141 * GIB
    used_bytes: int = GIB
    mig: bool | None = False
    """None: the card does not know the mode."""
    instances: tuple[FakeInstance, ...] = ()
    compute_mode: int = 0
    persistence: int = 1
    uncorrected: int = 0
    remapping: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Rows remapped after corrected and uncorrected errors, pending, failed."""
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeMachine:
    """One machine with its driver."""

    cards: tuple[FakeCard, ...] = ()
    driver: str = "580.95.05"
    cuda: int = 13000
    init_error: int | None = None
    nvlink: bool = False
    torch: dict[str, Any] = field(
        default_factory=lambda: {
            "version": "2.15.0+cu130",
            "cuda": "13.0",
            "archs": ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "compute_120"],
        }
    )
    """Answer of the throw-away process that imports torch."""
    cuda_error: str | None = None
    """Words with which CUDA does not start."""
    cuda_only: tuple[str, ...] = ()
    """Names that CUDA knows though NVML does not."""


def from_json(text: str) -> FakeMachine:
    """Return the machine that `environment` wrote."""
    values = json.loads(text)
    cards = [
        FakeCard(
            **card
            | {
                "capability": tuple(card["capability"]),
                "remapping": tuple(card["remapping"]),
                "instances": tuple(FakeInstance(**each) for each in card["instances"]),
            }
        )
        for card in values.pop("cards")
    ]
    return FakeMachine(**values | {"cards": tuple(cards)})


def environment(machine: FakeMachine) -> dict[str, str]:
    """Return the variables under which a process of a test sees this machine."""
    paths = [str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {VARIABLE: json.dumps(asdict(machine)), "PYTHONPATH": os.pathsep.join(paths)}


def install(machine: FakeMachine, replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace the functions of pynvml by those of a fake; `replace` is setattr, or undoes itself.

    A name that pynvml has not is an AttributeError.
    """
    driver = _Driver(machine)
    for name in dir(driver):
        if name.startswith("nvml"):
            getattr(pynvml, name)
            replace(pynvml, name, getattr(driver, name))


@dataclass(frozen=True)
class Handle:
    """A card, or one of its instances."""

    card: FakeCard
    instance: FakeInstance | None = None


class _Driver:
    """The functions, under their own names and with their own parameters."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    def _checked(self, handle: Handle, name: str, *, whole_card: bool = True) -> FakeCard:
        if code := handle.card.errors.get(name):
            raise pynvml.NVMLError(code)
        if whole_card and handle.instance:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return handle.card

    def nvmlInit(self) -> None:
        if self._machine.init_error:
            raise pynvml.NVMLError(self._machine.init_error)

    def nvmlShutdown(self) -> None:
        pass

    def nvmlSystemGetDriverVersion(self) -> str:
        return self._machine.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return self._machine.cuda

    def nvmlDeviceGetCount(self) -> int:
        return len(self._machine.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle:
        handle = Handle(self._machine.cards[index])
        self._checked(handle, "nvmlDeviceGetHandleByIndex")
        return handle

    def nvmlDeviceGetUUID(self, handle: Handle) -> str:
        return handle.instance.uuid if handle.instance else handle.card.uuid

    def nvmlDeviceGetName(self, handle: Handle) -> str:
        card = self._checked(handle, "nvmlDeviceGetName", whole_card=False)
        return handle.instance.name if handle.instance else card.name

    def nvmlDeviceGetCudaComputeCapability(self, handle: Handle) -> tuple[int, int]:
        return self._checked(handle, "nvmlDeviceGetCudaComputeCapability").capability

    def nvmlDeviceGetMigMode(self, device: Handle) -> list[int]:
        card = self._checked(device, "nvmlDeviceGetMigMode")
        if card.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(card.mig), int(card.mig)]

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Handle) -> int:
        self._checked(device, "nvmlDeviceGetMaxMigDeviceCount")
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Handle, index: int) -> Handle:
        """Return an instance; they lie at the odd numbers, for numbers have gaps."""
        at, is_gap = divmod(index, 2)
        if not is_gap or at >= len(device.card.instances):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return Handle(device.card, device.card.instances[at])

    def nvmlDeviceGetMemoryInfo(
        self,
        handle: Handle,
        version: int | None = None,  # noqa: ARG002
    ) -> SimpleNamespace:
        card = self._checked(handle, "nvmlDeviceGetMemoryInfo", whole_card=False)
        total = handle.instance.memory_bytes if handle.instance else card.memory_bytes
        return SimpleNamespace(total=total, used=card.used_bytes, free=total - card.used_bytes)

    def nvmlDeviceGetUtilizationRates(self, handle: Handle) -> SimpleNamespace:
        self._checked(handle, "nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=75, memory=20)

    def nvmlDeviceGetTemperature(self, handle: Handle, sensor: int) -> int:  # noqa: ARG002
        self._checked(handle, "nvmlDeviceGetTemperature")
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: Handle) -> int:
        self._checked(handle, "nvmlDeviceGetPowerUsage")
        return 250_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Handle) -> int:
        self._checked(handle, "nvmlDeviceGetTotalEnergyConsumption")
        return int(time.monotonic() * 250_000)

    def nvmlDeviceGetComputeMode(self, handle: Handle) -> int:
        return self._checked(handle, "nvmlDeviceGetComputeMode").compute_mode

    def nvmlDeviceGetPersistenceMode(self, handle: Handle) -> int:
        return self._checked(handle, "nvmlDeviceGetPersistenceMode").persistence

    def nvmlDeviceGetTotalEccErrors(self, handle: Handle, errorType: int, counterType: int) -> int:  # noqa: ARG002
        card = self._checked(handle, "nvmlDeviceGetTotalEccErrors")
        return card.uncorrected if errorType == pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED else 0

    def nvmlDeviceGetRemappedRows(self, device: Handle) -> tuple[int, int, int, int]:
        return self._checked(device, "nvmlDeviceGetRemappedRows").remapping

    def nvmlDeviceGetP2PStatus(self, device1: Handle, device2: Handle, p2pIndex: int) -> int:  # noqa: ARG002
        index = int(p2pIndex)  # a constant that is no int is a TypeError, as in ctypes
        if index == pynvml.NVML_P2P_CAPS_INDEX_NVLINK and not self._machine.nvlink:
            return int(pynvml.NVML_P2P_STATUS_NOT_SUPPORTED)
        return int(pynvml.NVML_P2P_STATUS_OK)

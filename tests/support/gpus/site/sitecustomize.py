"""Install the fake driver in a process that a test starts; Python imports this by its name.

It also answers for torch in `worker.gpus.torch_probe`, the one process that asks CUDA.
"""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[4])


def _fake_torch(answer: dict[str, Any], names: tuple[str, ...]) -> ModuleType:
    torch = ModuleType("torch")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") in names
    device = SimpleNamespace(name="A device of CUDA", total_memory=10 << 30, major=8, minor=0)
    values = {
        "__version__": answer["version"],
        "version": SimpleNamespace(cuda=answer["cuda"]),
        "cuda": SimpleNamespace(
            get_arch_list=lambda: answer["archs"],
            is_available=lambda: visible,
            device_count=lambda: int(visible),
            get_device_properties=lambda _index: device,
        ),
    }
    for name, value in values.items():
        setattr(torch, name, value)
    return torch


def _install() -> None:
    sys.path.insert(0, _ROOT)
    from tests.support.gpus import fake_nvml

    sys.path.remove(_ROOT)
    machine = fake_nvml.from_json(os.environ[fake_nvml.VARIABLE])
    fake_nvml.install(machine)
    if "worker.gpus.torch_probe" in sys.orig_argv:
        sys.modules["torch"] = _fake_torch(machine.torch, machine.cuda_only)


if "FAKE_NVML" in os.environ:
    _install()

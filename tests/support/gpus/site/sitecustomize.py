"""Install the fake driver in a process that a test starts; Python imports this by its name.

It also answers for torch in `worker.gpus.cuda_probe`, the one process that asks CUDA.
"""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

_ROOT = str(Path(__file__).resolve().parents[4])


def _install() -> None:
    sys.path.insert(0, _ROOT)
    from tests.support.gpus import fake_cuda, fake_nvml

    sys.path.remove(_ROOT)
    machine = fake_nvml.from_json(os.environ[fake_nvml.VARIABLE])
    fake_nvml.install(machine)
    if "worker.gpus.cuda_probe" in sys.orig_argv:
        torch = ModuleType("torch")
        torch.__version__ = machine.torch["version"]  # type: ignore[attr-defined]
        torch.version = SimpleNamespace(cuda=machine.torch["cuda"])  # type: ignore[attr-defined]
        names = os.environ["CUDA_VISIBLE_DEVICES"]
        torch.cuda = fake_cuda.torch_cuda(machine, names)  # type: ignore[attr-defined]
        sys.modules["torch"] = torch


if "FAKE_NVML" in os.environ:
    _install()

"""Check, before a job starts, that Triton's kernels can run on a GPU."""

import os
import shutil
import sysconfig
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from trainer.accel.batch_norm import GroupedBatchNorm
from trainer.accel.cuda.kernels import fused_batch_norm

CAPABILITY_MIN = (8, 0)
"""The least that multiplies in bfloat16."""
COMPILERS = ("gcc", "clang")


def fused_kernels_version() -> str:
    """Return what the bits of the kernels depend on besides our code."""
    # The module knows: the package has another name in the nightly builds of torch.
    return f"triton {import_module('triton').__version__}"


def fused_kernels_problem(device: torch.device) -> str:
    """Return why the kernels cannot run on a GPU; empty if they can.

    The last check compiles and runs the smallest batch norm, which takes seconds the first time.
    """
    return _missing() or _too_old(device) or _failure(device)


def _missing() -> str:
    if find_spec("triton") is None:
        return "Triton is not installed: install it, as it comes with torch for CUDA"
    compiler = os.environ.get("CC") or next(filter(shutil.which, COMPILERS), None)
    if compiler is None or shutil.which(compiler) is None:
        return "Triton needs a C compiler to load kernels: install gcc, or name a compiler in CC"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"Triton needs Python's header files to load kernels: {header} is missing"
    return ""


def _too_old(device: torch.device) -> str:
    capability = torch.cuda.get_device_capability(device)
    if capability >= CAPABILITY_MIN:
        return ""
    wanted, found = (".".join(map(str, numbers)) for numbers in (CAPABILITY_MIN, capability))
    return f"the GPU has compute capability {found}, and the kernels need {wanted}"


def _failure(device: torch.device) -> str:
    weight, bias, mean, variance = torch.ones((4, 2), device=device)
    norm = GroupedBatchNorm(weight, bias, mean, variance, 2, momentum=0.1, eps=1e-5, relu=True)
    try:
        x = torch.ones((4, 2, 1, 1), device=device)
        fused_batch_norm.grouped_batch_norm(x, norm, added=None)
        torch.cuda.synchronize(device)
    except Exception as error:  # whatever the compiler raises, the job can run without
        first = str(error).partition("\n")[0]
        return f"Triton could not run a kernel: {type(error).__name__}: {first}"
    return ""

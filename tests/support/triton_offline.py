"""Compile Triton's kernels for a GPU where there is none: each launch compiles and runs nothing.

python -m tests.support.triton_offline 90   all kernels for compute capability 9.0, as JSON
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from tempfile import NamedTemporaryFile
from types import ModuleType
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.knobs import nvidia

from trainer.accel.batch_norm import GroupedBatchNorm
from trainer.accel.cuda.kernels import (
    fused_batch_norm,
    fused_views,
    triton_batch_norm,
    triton_views,
)
from trainer.accel.view_layout import ViewForm

TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.uint8: "*u8",
    torch.bool: "*i1",
}
ALIGNED = 16
"""Addresses and integers that it divides let the compiler use wide loads."""
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True)
class Compiled:
    """One kernel in machine code."""

    name: str
    dtype: str
    """Type of the batch that is normed, or of the views."""
    ptx: str
    registers: int
    spilled_bytes: int


def all_kernels(capability: int) -> list[Compiled]:
    """Compile what channels_last batches in both precisions launch, at the sizes of a ResNet-50."""
    compiled: list[Compiled] = []
    for dtype in (torch.bfloat16, torch.float32):
        for module, launch in (
            (triton_batch_norm, _launch_batch_norm),
            (triton_views, _launch_views),
        ):
            with _compiled_only(module, capability, str(dtype), compiled):
                launch(dtype)
    return compiled


def _launch_batch_norm(dtype: torch.dtype) -> None:
    x = torch.zeros((4, 64, 56, 56), dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight, bias, mean, variance = torch.ones((4, 64))
    norm = GroupedBatchNorm(weight, bias, mean, variance, 2, momentum=0.1, eps=1e-5, relu=True)
    x.requires_grad_()
    for added in (None, x.detach()):
        result = fused_batch_norm.grouped_batch_norm(x, norm, added=added)
        torch.autograd.grad(result, x, torch.zeros_like(x))


def _launch_views(dtype: torch.dtype) -> None:
    images = torch.zeros((4, 3, 256, 256), dtype=torch.uint8)
    never = torch.zeros((4, 4), dtype=torch.bool)
    order = torch.zeros((4, 4), dtype=torch.int64)
    drawn = (order, never[:, 0], order, torch.ones((4, 4)), never[:, 1:], torch.ones(4))
    fused_views.augment(images, drawn, form=ViewForm(224, 6, torch.ones((2, 3))), dtype=dtype)


@contextmanager
def _compiled_only(
    module: ModuleType, capability: int, dtype: str, compiled: list[Compiled]
) -> Iterator[None]:
    """Compile for a capability, such as 90, what the block launches from a module of kernels."""
    launchers = {
        name: _Launcher(kernel, capability, dtype, compiled)
        for name, kernel in vars(module).items()
        if isinstance(kernel, triton.JITFunction) and not name.startswith("_")
    }
    with mock.patch.dict(vars(module), launchers):
        yield


@dataclass(frozen=True)
class _Launcher:
    kernel: Any
    capability: int
    dtype: str
    compiled: list[Compiled]

    def __getitem__(self, _grid: object) -> Callable[..., None]:
        return self._compile

    def _compile(self, *args: Any, **keywords: Any) -> None:  # noqa: ANN401  # a kernel's own
        names = self.kernel.arg_names
        values = dict(zip(names, args, strict=False))
        values |= {name: keywords.pop(name) for name in names if name in keywords}
        constants = {name: it for name, it in values.items() if name.isupper() or _is_one(it)}
        source = ASTSource(
            fn=self.kernel,
            signature={
                name: "constexpr" if name in constants else _type(it) for name, it in values.items()
            },
            constexprs=constants,
            attrs={
                (names.index(name),): [["tt.divisibility", ALIGNED]]
                for name, it in values.items()
                if name not in constants and _is_aligned(it)
            },
        )
        target = GPUTarget("cuda", self.capability, 32)
        result = triton.compile(source, target=target, options=keywords)
        registers, spilled = _usage(result.asm["cubin"])
        name, ptx = self.kernel.__name__, result.asm["ptx"]
        self.compiled.append(Compiled(name, self.dtype, ptx, registers, spilled))


def _type(value: object) -> str:
    if isinstance(value, Tensor):
        return TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def _is_one(value: object) -> bool:
    """Return whether the compiler takes a value for a constant."""
    return isinstance(value, int) and value == 1


def _is_aligned(value: object) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, int) and value % ALIGNED == 0)


def _usage(cubin: bytes) -> tuple[int, int]:
    """Return registers of a thread, and bytes that did not fit into them."""
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [nvidia.cuobjdump.path, "-res-usage", file.name]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = USAGE.search(shown)
    assert found is not None, shown
    registers, stack, _, local = map(int, found.groups())
    return registers, stack + local


if __name__ == "__main__":
    json.dump([asdict(each) for each in all_kernels(int(sys.argv[1]))], sys.stdout)

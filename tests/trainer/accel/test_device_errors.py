"""Errors as torch, CUDA and its libraries word them."""

import errno
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainer.accel.device_errors import (
    first_line,
    is_broken_device,
    is_out_of_memory,
    memory_figures,
)

OF_ALLOCATOR = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of "
    "which 1.20 GiB is free. Including non-PyTorch memory, this process has 22.40 GiB memory in "
    "use. Of the allocated memory 21.00 GiB is allocated by PyTorch, and 512.00 MiB is reserved "
    "by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
ADVICE = "\nCUDA kernel errors might be asynchronously reported at some other API call."
MEMORY: tuple[Exception, ...] = (
    torch.OutOfMemoryError(OF_ALLOCATOR),
    torch.AcceleratorError("CUDA error: out of memory" + ADVICE),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
)
BROKEN = (
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: uncorrectable NVLink error detected during the execution",
    "CUDA error: device-side assert triggered",
    "CUDA error: misaligned address",
    "CUDA error: hardware stack error",
    "CUDA error: all CUDA-capable devices are busy or unavailable",
    "CUDA error: no CUDA-capable device is detected",
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA error: driver shutting down",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "The NVIDIA driver on your system is too old (found version 11040).",
    "Found no NVIDIA driver on your system.",
)
NEITHER: tuple[Exception, ...] = (
    RuntimeError("CUDA error: operation not permitted when stream is capturing"),
    RuntimeError("CUDA error: invalid configuration argument"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("an unknown error of something else"),
    ValueError("out of memory"),
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
)


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_every_form_of_out_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_broken_device(error)


@pytest.mark.parametrize("words", BROKEN)
@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_every_form_of_a_broken_device(words: str, kind: type[RuntimeError]) -> None:
    assert is_broken_device(kind(words + ADVICE))
    assert not is_out_of_memory(kind(words + ADVICE))


@pytest.mark.parametrize("error", NEITHER, ids=str)
def test_other_errors_are_neither(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert not is_broken_device(error)


@pytest.mark.parametrize("allocate", [torch.empty, np.empty])
def test_what_a_host_without_memory_raises(allocate: Callable[[int], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as refused:
        allocate(1 << 50)
    assert is_out_of_memory(refused.value)
    assert "tried to allocate " in memory_figures(refused.value, torch.device("cpu"))


def behind(cause: Exception, error: Exception) -> Exception:
    """Return an error that was raised while the cause was on its way out."""
    try:
        try:
            raise cause
        finally:
            raise error
    except type(error) as raised:
        return raised


def test_a_capture_that_memory_has_invalidated() -> None:
    """`torch.cuda.graph` ends the capture on the way out, and that raises another error."""
    invalidated = RuntimeError("CUDA error: operation failed due to a previous error")
    error = behind(torch.OutOfMemoryError(OF_ALLOCATOR), invalidated)
    assert is_out_of_memory(error)
    assert "tried to allocate 2.00 GiB" in memory_figures(error, torch.device("cpu"))


def test_an_error_while_out_of_memory_is_handled_is_its_own() -> None:
    assert not is_out_of_memory(behind(torch.OutOfMemoryError(OF_ALLOCATOR), ValueError("other")))


def test_the_first_line_keeps_the_numbers_and_drops_the_advice() -> None:
    line = first_line(torch.OutOfMemoryError(OF_ALLOCATOR))
    assert "Tried to allocate 2.00 GiB" in line
    assert "23.64 GiB of which 1.20 GiB is free" in line
    assert "PYTORCH_ALLOC_CONF" not in line
    assert first_line(RuntimeError(BROKEN[0] + ADVICE)) == BROKEN[0]

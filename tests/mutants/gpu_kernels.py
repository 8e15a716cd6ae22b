"""Defects of the fused GPU kernels, which the interpreter notices, and of their switch."""

from typing import Final

from tests.mutants.runner import Mutant

KERNELS = "trainer/accel/cuda/kernels/"
TESTS = "tests/trainer/accel/cuda/kernels/"
NORM = (
    TESTS
    + "test_fused_batch_norm.py::test_equals_torch_in_float64[shape0-3-False-True-contiguous]",
)
ADDED = (
    TESTS + "test_fused_batch_norm.py::test_equals_torch_in_float64[shape0-3-True-True-contiguous]",
)
VIEW = TESTS + "test_fused_views.py::test_each_step_equals_torchvision"

GPU_KERNELS: Final = (
    Mutant(
        "every group has the statistics of the first",
        KERNELS + "triton_batch_norm.py",
        "    x += group.to(tl.int64) * (lines * pixels * channels)\n",
        "    x += group.to(tl.int64) * 0\n",
        NORM,
    ),
    Mutant(
        "nothing is added to the variance",
        KERNELS + "triton_batch_norm.py",
        "tl.sqrt(variance + eps)",
        "tl.sqrt(variance)",
        NORM,
    ),
    Mutant(
        "the running variance is biased",
        KERNELS + "triton_batch_norm.py",
        "    variance *= pixels / (pixels - 1)\n",
        "",
        NORM,
    ),
    Mutant(
        "the ReLU of the kernels hides a NaN",
        KERNELS + "triton_batch_norm.py",
        "tl.where(value < 0.0, 0.0, value)",
        "tl.maximum(value, 0.0)",
        (TESTS + "test_fused_batch_norm.py::test_what_is_not_finite_stays_so[nan]",),
    ),
    Mutant(
        "a shortcut gets what its ReLU has stopped",
        KERNELS + "fused_batch_norm.py",
        "passed if ctx.adds else None",
        "grad if ctx.adds else None",
        ADDED,
    ),
    Mutant(
        "a flipped view is one pixel off",
        KERNELS + "triton_views.py",
        "tl.where(flip, side - 1 - x, x)",
        "tl.where(flip, side - x, x)",
        (VIEW + "[crop-]",),
    ),
    Mutant(
        "the contrast is about the mean before the jitter",
        KERNELS + "triton_views.py",
        "        before = 1\n",
        "        before = 0\n",
        (VIEW + "[jitter-]",),
    ),
    Mutant(
        "a view is blurred by another width",
        KERNELS + "triton_views.py",
        "tl.exp(-0.5 * apart * apart)",
        "tl.exp(-1.0 * apart * apart)",
        (VIEW + "[wide blur-]",),
    ),
    Mutant(
        "fused kernels are used where they cannot run",
        "trainer/accel/device.py",
        "fused_kernels=wanted and not problem,",
        "fused_kernels=wanted,",
        (TESTS + "test_availability.py::test_they_are_used_if_asked_for_and_possible",),
    ),
)

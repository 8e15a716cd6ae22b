"""Compiled batch norm against the definition in float64, and against itself by other threads."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.accel.cpu.batchnorm import fused
from trainer.accel.ops import Accelerator
from trainer.nn.split_batchnorm import SplitBatchNorm2d

ROWS, GROUPS = 16, 4
NEAR_KINK = 0.05
"""Distance of a sum from 0 below which rounding decides whether a ReLU passes it."""


def tensor(*shape: int, seed: int, last: bool = True) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()
    return drawn.to(memory_format=torch.channels_last) if last else drawn


def norm_of(channels: int, *, relu: bool, threads: int = 2) -> SplitBatchNorm2d:
    norm = SplitBatchNorm2d(channels, splits=GROUPS, relu=relu, accelerator=Accelerator(threads))
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1.5, 1.5, channels))
        norm.bias.copy_(torch.linspace(-0.5, 1.0, channels))
    return norm


def by_definition(norm: SplitBatchNorm2d, x: Tensor, added: Tensor | None) -> Tensor:
    """Ioffe and Szegedy 2015, Algorithm 1, for each group, in float64 and with autograd."""
    parts = []
    for part in x.chunk(GROUPS):
        mean = part.mean((0, 2, 3), keepdim=True)
        variance = (part - mean).square().mean((0, 2, 3), keepdim=True)
        parts.append((part - mean) / torch.sqrt(variance + norm.eps))
    scale, shift = (each.double()[None, :, None, None] for each in (norm.weight, norm.bias))
    found = torch.cat(parts) * scale + shift
    if added is not None:
        found = found + added
    return found.relu() if norm.relu else found


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize(("channels", "side_px"), [(32, 5), (32, 16), (96, 1), (64, 9)])
def test_equals_the_definition(channels: int, side_px: int, adds: bool, relu: bool) -> None:
    """Values, all gradients, running statistics, to the precision of bfloat16."""
    norm = norm_of(channels, relu=relu)
    shape = (ROWS, channels, side_px, side_px)
    x = (tensor(*shape, seed=1) * 3 + 2).requires_grad_()
    added = tensor(*shape, seed=2).requires_grad_() if adds else None
    inputs = [x, *([] if added is None else [added])]
    doubles = [each.detach().double().requires_grad_() for each in inputs]
    found = norm(x, added)
    wanted = by_definition(norm, doubles[0], doubles[1] if adds else None)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-3)
    grad = tensor(*shape, seed=3)
    if relu:  # what rounding decides has no gradient here
        grad = grad * (wanted.abs() > NEAR_KINK)
        near = by_definition_without_relu(norm, doubles).abs() < NEAR_KINK
        grad = torch.where(near, 0.0, grad).to(torch.bfloat16)
    weights = [norm.weight, norm.bias]
    gradients = torch.autograd.grad(found, [*inputs, *weights], grad)
    expected = torch.autograd.grad(wanted, [*doubles, *weights], grad.double())
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=2**-7, atol=6e-3)


def by_definition_without_relu(norm: SplitBatchNorm2d, doubles: list[Tensor]) -> Tensor:
    plain = norm_of(norm.num_features, relu=False)
    return by_definition(plain, doubles[0], doubles[1] if len(doubles) > 1 else None)


def test_running_statistics_move_as_the_library_moves_them() -> None:
    norm, library = norm_of(64, relu=True), SplitBatchNorm2d(64, splits=GROUPS)
    for seed in range(3):
        x = tensor(ROWS, 64, 4, 4, seed=seed) + seed
        norm(x)
        library(x.float())
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(norm, name), getattr(library, name))


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    """The sum of squares alone would lose a variance of 1 beside a mean of 4096."""
    x = tensor(ROWS, 32, 16, 16, seed=4) * 32 + 4096
    norm = norm_of(32, relu=False)
    norm(x)
    means, variances = x.double().chunk(GROUPS), []
    variances = [part.var((0, 2, 3)) for part in means]
    wanted = 0.9 + 0.1 * torch.stack(variances).mean(0)
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_var.double(), wanted, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(broken: float) -> None:
    """A ReLU must not hide it: training that diverges is to be noticed."""
    x = tensor(ROWS, 32, 4, 4, seed=5)
    x[0, 2, 1, 1] = broken
    found = norm_of(32, relu=True)(x)
    assert found[: ROWS // GROUPS, 2].isnan().any()
    assert found[:, [0, 1, *range(3, 32)]].isfinite().all()
    assert found[ROWS // GROUPS :].isfinite().all()


def test_threads_change_no_bit() -> None:
    x, grad = (tensor(ROWS, 64, 6, 6, seed=seed) for seed in (6, 7))
    found = []
    for threads in (1, 2, 5):
        norm = norm_of(64, relu=True, threads=threads)
        mine = x.clone().requires_grad_()
        normed = norm(mine, x)
        gradients = torch.autograd.grad(normed, [mine, norm.weight, norm.bias], grad)
        found.append([normed, *gradients, norm.running_var])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_without_gradients_the_same_is_written_over_the_input() -> None:
    """The input of a key tower is not needed again."""
    x = tensor(ROWS, 64, 6, 6, seed=6)
    wanted = norm_of(64, relu=True)(x)
    before = x.clone()
    assert torch.equal(x, before)
    with torch.no_grad():
        found = norm_of(64, relu=True)(x, before)
    assert found.data_ptr() == x.data_ptr()
    assert torch.equal(found, norm_of(64, relu=True)(before.clone(), before))
    assert not torch.equal(found, wanted)


def test_the_run_of_channels_is_that_of_the_kernels() -> None:
    from trainer.accel.cpu import simd  # it loads the compiler

    assert fused.CHANNELS_OF == simd.WIDTH


@pytest.mark.parametrize(
    ("x", "is_possible"),
    [
        (tensor(4, 32, 2, 2, seed=0), True),
        (tensor(4, 32, 2, 2, seed=0, last=False), False),
        (tensor(4, 32, 2, 2, seed=0).float(), False),
        (tensor(4, 33, 2, 2, seed=0), False),
    ],
)
def test_other_tensors_go_to_the_library(x: Tensor, is_possible: bool) -> None:
    assert fused.is_possible(x) == is_possible
    norm = norm_of(x.shape[1], relu=True)
    parts = [F.batch_norm(part, None, None, norm.weight, norm.bias, True) for part in x.chunk(2)]
    norm.splits = 2
    torch.testing.assert_close(norm(x), torch.cat(parts).relu(), rtol=2**-7, atol=1e-2)

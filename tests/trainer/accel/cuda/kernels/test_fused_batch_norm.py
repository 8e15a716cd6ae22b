"""Triton's batch norm against torch in float64: on a GPU, or interpreted on a CPU."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is not installed")

from trainer.accel.batch_norm import GroupedBatchNorm
from trainer.accel.cuda.kernels import fused_batch_norm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STORED = 2**-8 if DEVICE.type == "cuda" else 2**-7
"""Relative error of a value in bfloat16: a GPU rounds, the interpreter cuts off."""
FACTOR = 4.0
"""Greatest error, in errors of torch's own float32 form."""
MOMENTUM, EPS = 0.1, 1e-3


@pytest.fixture(autouse=True)
def _small_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so small that a few pixels need several programs of several tiles."""
    monkeypatch.setattr(fused_batch_norm, "TILE", 128)
    monkeypatch.setattr(fused_batch_norm, "PROGRAMS_MAX", 3)
    monkeypatch.setattr(fused_batch_norm, "GROUPS_TILE", 2)


def tensor(*shape: int, seed: int, dtype: torch.dtype, last: bool) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    order = torch.channels_last if last else torch.contiguous_format
    return drawn.to(DEVICE, dtype).contiguous(memory_format=order)


def norm_of(channels: int, *, groups: int, relu: bool) -> GroupedBatchNorm:
    return GroupedBatchNorm(
        weight=torch.linspace(-1.5, 1.5, channels, device=DEVICE).requires_grad_(),
        bias=torch.linspace(-0.5, 1.0, channels, device=DEVICE).requires_grad_(),
        running_mean=torch.linspace(-2.0, 2.0, channels, device=DEVICE),
        running_var=torch.linspace(0.5, 2.0, channels, device=DEVICE),
        groups=groups,
        momentum=MOMENTUM,
        eps=EPS,
        relu=relu,
    )


def by_torch(
    norm: GroupedBatchNorm, inputs: list[Tensor], grad: Tensor, passes: Tensor | None
) -> list[Tensor]:
    """Return result, running statistics and gradients, in the dtype of the inputs.

    `passes`: where the ReLU does, which rounding decides near 0; None where the result is above 0.
    """
    x, *added = inputs
    dtype = x.dtype
    weight, bias, mean, variance = (each.detach().to(dtype) for each in norm[:4])
    weight, bias = weight.requires_grad_(), bias.requires_grad_()
    moved = [(mean.clone(), variance.clone()) for _ in range(norm.groups)]
    parts = [
        F.batch_norm(part, *moments, weight, bias, True, norm.momentum, norm.eps)
        for part, moments in zip(x.chunk(norm.groups), moved, strict=True)
    ]
    result = torch.cat(parts) + (added[0] if added else 0.0)
    if norm.relu:
        result = result.where(result > 0.0 if passes is None else passes, 0.0)
    gradients = torch.autograd.grad(result, [*inputs, weight, bias], grad.to(dtype))
    statistics = [torch.stack(each).mean(0) for each in zip(*moved, strict=True)]
    return [result.detach(), *statistics, *gradients]


def check(
    shape: tuple[int, ...], groups: int, *, dtype: torch.dtype, last: bool, adds: bool, relu: bool
) -> None:
    """Compare result, running statistics and all gradients with torch's."""
    norm = norm_of(shape[1], groups=groups, relu=relu)
    x = (tensor(*shape, seed=1, dtype=dtype, last=last) * 3 + 2).requires_grad_()
    inputs = [x] + [tensor(*shape, seed=2, dtype=dtype, last=not last).requires_grad_()] * adds
    grad = tensor(*shape, seed=3, dtype=dtype, last=not last)
    doubles, floats = (
        [each.detach().to(to).requires_grad_() for each in inputs]
        for to in (torch.float64, torch.float32)
    )
    before = norm._replace(
        running_mean=norm.running_mean.clone(), running_var=norm.running_var.clone()
    )
    result = fused_batch_norm.grouped_batch_norm(x, norm, added=inputs[1] if adds else None)
    assert result.dtype == dtype
    assert result.stride() == x.stride()
    gradients = torch.autograd.grad(result, [*inputs, norm.weight, norm.bias], grad)
    ours = [result.detach(), norm.running_mean, norm.running_var, *gradients]
    passes = result.detach() > 0.0
    exact = by_torch(before, doubles, grad, passes)
    usual = by_torch(before, floats, grad, passes)
    for number, (our, their, yardstick) in enumerate(zip(ours, exact, usual, strict=True)):
        error = (our.double() - their).abs()
        bound = FACTOR * (yardstick.double() - their).abs().max() + 1e-6 * their.abs().max()
        if our.dtype == torch.bfloat16:
            bound = bound + STORED * their.abs() + 1e-6
        assert bool((error <= bound).all()), (number, float(error.max()))


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize(
    ("adds", "relu"), [(False, True), (True, True), (True, False), (False, False)]
)
@pytest.mark.parametrize(
    ("shape", "groups"), [((6, 5, 3, 7), 3), ((8, 70, 1, 1), 4), ((8, 3, 9, 5), 1)]
)
def test_equals_torch_in_float64(
    shape: tuple[int, ...], groups: int, adds: bool, relu: bool, last: bool
) -> None:
    check(shape, groups, dtype=torch.float32, last=last, adds=adds, relu=relu)


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("adds", [False, True])
def test_bfloat16_has_statistics_in_float32(adds: bool, last: bool) -> None:
    check((6, 6, 4, 5), 3, dtype=torch.bfloat16, last=last, adds=adds, relu=True)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    groups=st.integers(1, 9),
    rows=st.integers(2, 4),
    channels=st.integers(1, 20),
    height=st.integers(1, 6),
    width=st.integers(1, 9),
    adds=st.booleans(),
    last=st.booleans(),
)
def test_any_shape(  # noqa: PLR0917  # what is drawn
    groups: int, rows: int, channels: int, height: int, width: int, adds: bool, last: bool
) -> None:
    shape = (groups * rows, channels, height, width)
    check(shape, groups, dtype=torch.float32, last=last, adds=adds, relu=True)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    """The sum of squares alone would lose a variance of 1 beside a mean of 4096."""
    x = tensor(8, 4, 6, 6, seed=4, dtype=torch.float32, last=True) + 4096
    norm = norm_of(4, groups=2, relu=False)
    before = norm.running_var.double()
    fused_batch_norm.grouped_batch_norm(x.clone(), norm, added=None)
    variance = torch.stack([part.var((0, 2, 3)) for part in x.double().chunk(2)]).mean(0)
    wanted = (1.0 - MOMENTUM) * before + MOMENTUM * variance
    torch.testing.assert_close(norm.running_var.double(), wanted, rtol=2e-5, atol=0.0)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(broken: float) -> None:
    """A ReLU must not hide it: training that diverges is to be noticed."""
    x = tensor(8, 5, 3, 3, seed=5, dtype=torch.float32, last=True)
    x[0, 2, 1, 1] = broken
    result = fused_batch_norm.grouped_batch_norm(x, norm_of(5, groups=2, relu=True), added=None)
    assert result[:4, 2].isnan().any()
    assert result[:, [0, 1, 3, 4]].isfinite().all()
    assert result[4:].isfinite().all()


def test_twice_the_same_bits() -> None:
    x, added, grad = (
        tensor(8, 6, 5, 5, seed=seed, dtype=torch.bfloat16, last=True) for seed in (6, 7, 8)
    )
    found = []
    for _ in range(2):
        norm, mine = norm_of(6, groups=4, relu=True), x.clone().requires_grad_()
        result = fused_batch_norm.grouped_batch_norm(mine, norm, added=added)
        gradients = torch.autograd.grad(result, [mine, norm.weight, norm.bias], grad)
        found.append([result, *gradients, norm.running_mean, norm.running_var])
    assert all(torch.equal(*both) for both in zip(*found, strict=True))


def test_without_gradients_the_same_is_written_over_the_input() -> None:
    """The input of a key tower is not needed again."""
    x = tensor(4, 6, 5, 5, seed=6, dtype=torch.float32, last=True)
    wanted = fused_batch_norm.grouped_batch_norm(x, norm_of(6, groups=2, relu=True), added=None)
    with torch.no_grad():
        found = fused_batch_norm.grouped_batch_norm(x, norm_of(6, groups=2, relu=True), added=None)
    assert found.data_ptr() == x.data_ptr()
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("x", "groups", "is_possible"),
    [
        (torch.empty(4, 3, 2, 2), 2, True),
        (torch.empty(4, 3, 2, 2, dtype=torch.bfloat16), 2, True),
        (torch.empty(4, 2, 2, 3).permute(0, 3, 1, 2), 2, True),
        (torch.empty(4, 2, 3, 2).transpose(1, 2), 2, False),
        (torch.empty(4, 3, 2, 2, dtype=torch.float64), 2, False),
        (torch.empty(4096, 1024, 64, 64, device="meta"), 4, False),
    ],
)
def test_other_tensors_go_to_torch(x: Tensor, groups: int, is_possible: bool) -> None:
    norm = norm_of(x.shape[1], groups=groups, relu=True)
    assert fused_batch_norm.is_possible(x, norm) == is_possible

"""Split batch norm against one nn.BatchNorm2d for each group."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainer.nn.split_batchnorm import SplitBatchNorm2d, group_count


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("rows", "splits", "groups"), [(16, 8, 8), (12, 8, 6), (7, 8, 1), (2, 8, 1)]
)
def test_equals_one_batch_norm_for_each_group(
    rows: int, splits: int, groups: int, channels_last: bool
) -> None:
    """Outputs, gradients and running statistics; the authors average the latter over groups."""
    torch.manual_seed(0)
    split = SplitBatchNorm2d(3, splits=splits).double()
    with torch.no_grad():
        split.weight.uniform_(0.5, 2.0)
        split.bias.normal_()
    plain = [nn.BatchNorm2d(3).double() for _ in range(groups)]
    for norm in plain:
        norm.load_state_dict(split.state_dict())
    x = torch.randn(rows, 3, 4, 5, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    weights = torch.randn_like(x)
    found = split(x)
    parts = x.chunk(groups)
    expected = torch.cat([norm(part) for norm, part in zip(plain, parts, strict=True)])
    assert found.allclose(expected, rtol=1e-12, atol=1e-14)
    gradients = torch.autograd.grad((found * weights).sum(), [x, split.weight], retain_graph=True)
    wanted = torch.autograd.grad((expected * weights).sum(), [x, *(n.weight for n in plain)])
    assert gradients[0].allclose(wanted[0], rtol=1e-10, atol=1e-12)
    assert gradients[1].allclose(torch.stack(wanted[1:]).sum(0), rtol=1e-10, atol=1e-12)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(norm, name) for norm in plain]).mean(0)
        assert getattr(split, name).allclose(mean, rtol=1e-12)
    assert split.num_batches_tracked == 1


def test_is_a_batch_norm_to_everyone_else() -> None:
    split, plain = SplitBatchNorm2d(4, splits=8), nn.BatchNorm2d(4)
    split(torch.randn(16, 4, 2, 2))
    plain.load_state_dict(split.state_dict())
    x = torch.randn(8, 4, 2, 2)
    assert torch.equal(split.eval()(x), plain.eval()(x))


@given(st.integers(1, 300), st.integers(1, 64))
def test_takes_the_most_groups_that_divide_the_batch(rows: int, splits: int) -> None:
    groups = group_count(rows, splits=splits)
    fitting = [n for n in range(1, rows + 1) if n <= splits and rows % n == 0 and rows >= 2 * n]
    assert groups == (fitting[-1] if fitting else 1)

"""Convolutions as products against torch's own, in double precision, where they must agree."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.accel.cpu.conv import (
    Conv2d,
    Geometry,
    Products,
    _Product,
    choose_products,
    im2col,
    use_matmul_convs,
)

CASES = [
    (kernel, stride, side)
    for kernel in (1, 3, 5)
    for stride in (1, 2, 3)
    for side in (4, 7, 8)
    if kernel > 1 or stride < 3
]


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(
    "pays", [Products(True, True), Products(False, True)], ids=["whole", "weights"]
)
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_those_of_a_convolution(
    case: tuple[int, int, int], pays: Products
) -> None:
    kernel, stride, side = case
    geometry = Geometry(kernel, stride, kernel // 2)
    x, weight = drawn(4, 5, side, side + 2), drawn(4, 5, kernel, kernel)
    found = []
    for way in ("library", "ours"):
        inputs = [part.clone().requires_grad_() for part in (x, weight)]
        if way == "library":
            out = F.conv2d(inputs[0], inputs[1], stride=stride, padding=kernel // 2)
        else:
            out = _Product.apply(*inputs, geometry, pays)
        grads = torch.autograd.grad(out, inputs, torch.cos(drawn(*out.shape)))
        found.append((out.detach(), *grads))
    for theirs, ours in zip(*found, strict=True):
        assert theirs.shape == ours.shape
        assert torch.allclose(theirs, ours, rtol=1e-12, atol=1e-12)


def test_columns_are_those_of_unfold() -> None:
    x = drawn(2, 3, 6, 7)
    theirs = F.unfold(x, 3, padding=1, stride=2).view(2, 3, 9, -1)  # [N, C, k k, places]
    ours = im2col(x, Geometry(3, 2, 1)).view(2, -1, 9, 3)
    assert torch.equal(ours, theirs.permute(0, 3, 2, 1))


@pytest.mark.parametrize(
    ("channels", "side", "stride"), [(512, 4, 1), (128, 16, 2), (256, 8, 1), (64, 16, 2)]
)
def test_in_bfloat16_it_errs_no_more_than_the_library(
    channels: int, side: int, stride: int
) -> None:
    """Against double precision, for each shape that takes another way."""
    assert any(choose_products(channels, side, side, Geometry(3, stride, 1)))
    conv = nn.Conv2d(channels, 32, 3, stride=stride, padding=1, bias=False)
    ours = nn.Sequential(conv)
    use_matmul_convs(ours)
    x = drawn(4, channels, side, side).to(torch.bfloat16).float()
    exact = _grads(conv.double(), x.double())
    conv.float()
    with torch.autocast("cpu", torch.bfloat16):
        errors = [
            [float((a - b).norm() / b.norm()) for a, b in zip(_grads(one, x), exact, strict=True)]
            for one in (conv, ours[0])
        ]
    assert isinstance(ours[0], Conv2d)
    assert all(mine < 1.2 * theirs + 1e-5 for theirs, mine in zip(*errors, strict=True)), errors


def _grads(conv: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = conv(x)
    grads = torch.autograd.grad(out, [x, *conv.parameters()], torch.ones_like(out))
    return [part.detach().double() for part in (out, *grads)]


def test_only_plain_convolutions_change_and_their_weights_are_the_same_tensors() -> None:
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, bias=False, groups=2),
        nn.Sequential(nn.Conv2d(8, 4, 1, bias=False)),
    )
    before = network.state_dict()
    drawn_before = torch.get_rng_state()
    use_matmul_convs(network)
    assert torch.equal(drawn_before, torch.get_rng_state())
    kinds = [type(module) for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert kinds == [Conv2d, nn.Conv2d, nn.Conv2d, Conv2d]
    after = network.state_dict()
    assert list(before) == list(after)
    assert all(before[name].data_ptr() == after[name].data_ptr() for name in before)


def test_full_precision_takes_the_library() -> None:
    conv = nn.Conv2d(256, 8, 3, padding=1, bias=False)
    ours = use_matmul_convs(nn.Sequential(conv))
    x = drawn(2, 256, 4, 4).float()
    assert torch.equal(conv(x), ours(x))

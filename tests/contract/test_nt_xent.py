"""NT-Xent against its equation in numpy, and against LightlySSL's loss."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from lightly.loss import DCLLoss, NTXentLoss
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.losses.nt_xent import nt_xent

PAIRS, WIDTH = 6, 10
TEMPERATURES = (0.05, 0.1, 0.5, 1.0)
DECOUPLED = (False, True)


def raw(pairs: int = PAIRS, *, seed: int = 0) -> Tensor:
    """Two views of `pairs` rows, not normalized: float64 [2 pairs, WIDTH]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2 * pairs, WIDTH, generator=generator, dtype=torch.float64)


def equation(
    z: np.ndarray[Any, Any], t: float, *, decoupled: bool, identities: list[int] | None = None
) -> float:
    """Eq. 1 of arXiv:2002.05709 for every ordered pair, one exponential at a time.

    The decoupled loss of arXiv:2110.06848 drops the positive from the sum. Rows of one identity
    are no negatives of each other; a row without negatives then adds nothing.
    """
    n = len(z) // 2
    names = 2 * (identities or list(range(n)))

    def similarity(i: int, j: int) -> float:
        return float(z[i] @ z[j] / (np.linalg.norm(z[i]) * np.linalg.norm(z[j])))

    total = 0.0
    for i in range(2 * n):
        j = i + n if i < n else i - n
        denominator = 0.0
        for k in range(2 * n):
            is_negative = names[k] != names[i]
            if is_negative or (k == j and not decoupled):
                denominator += math.exp(similarity(i, k) / t)
        if decoupled and denominator == 0.0:
            continue
        total += -math.log(math.exp(similarity(i, j) / t) / denominator)
    return total / (2 * n)


def slope(
    z: np.ndarray[Any, Any], t: float, *, decoupled: bool, identities: list[int] | None = None
) -> np.ndarray[Any, Any]:
    """Central differences of the equation."""
    found, reach = np.empty_like(z), 1e-6
    for index in np.ndindex(*z.shape):
        above, below = z.copy(), z.copy()
        above[index] += reach
        below[index] -= reach
        values = [
            equation(moved, t, decoupled=decoupled, identities=identities)
            for moved in (above, below)
        ]
        found[index] = (values[0] - values[1]) / (2 * reach)
    return found


def value_and_gradient(
    views: Tensor, t: float, *, decoupled: bool, identities: list[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Our loss, and its gradient with respect to what is normalized first."""
    views = views.clone().requires_grad_()
    loss = nt_xent(
        F.normalize(views, dim=1),
        temperature=t,
        decoupled=decoupled,
        identities=None if identities is None else torch.tensor(identities),
    )
    (gradient,) = torch.autograd.grad(loss, [views])
    return loss.detach(), gradient


@pytest.mark.parametrize("decoupled", DECOUPLED)
@pytest.mark.parametrize("t", TEMPERATURES)
def test_value_is_the_equations(t: float, decoupled: bool) -> None:
    loss, _ = value_and_gradient(raw(), t, decoupled=decoupled)
    assert float(loss) == pytest.approx(equation(raw().numpy(), t, decoupled=decoupled), rel=1e-12)


@pytest.mark.parametrize("decoupled", DECOUPLED)
def test_gradient_is_the_equations(decoupled: bool) -> None:
    views = raw(3, seed=1)
    _, gradient = value_and_gradient(views, 0.2, decoupled=decoupled)
    expected = slope(views.numpy(), 0.2, decoupled=decoupled)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("decoupled", DECOUPLED)
@pytest.mark.parametrize("identities", [[7, 7, 7], [7, 8, 7], [2, 0, 1]])
def test_rows_of_one_identity_are_no_negatives(identities: list[int], decoupled: bool) -> None:
    """Value and gradient. Where all rows are of one identity, no row has a negative."""
    views = raw(3, seed=4)
    loss, gradient = value_and_gradient(views, 0.2, decoupled=decoupled, identities=identities)
    expected = equation(views.numpy(), 0.2, decoupled=decoupled, identities=identities)
    assert float(loss) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    expected_gradient = slope(views.numpy(), 0.2, decoupled=decoupled, identities=identities)
    np.testing.assert_allclose(gradient.numpy(), expected_gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("t", TEMPERATURES)
@pytest.mark.parametrize(
    ("decoupled", "peer"), [(False, NTXentLoss), (True, DCLLoss)], ids=["nt-xent", "decoupled"]
)
def test_value_and_gradient_are_lightlys(decoupled: bool, peer: type[nn.Module], t: float) -> None:
    loss, gradient = value_and_gradient(raw(seed=2), t, decoupled=decoupled)
    views = raw(seed=2).requires_grad_()
    their_loss = peer(temperature=t)(*views.chunk(2))
    (their_gradient,) = torch.autograd.grad(their_loss, [views])
    torch.testing.assert_close(loss, their_loss.detach(), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("decoupled", DECOUPLED)
def test_is_the_logarithm_of_the_negatives_when_all_rows_are_equal(decoupled: bool) -> None:
    same = F.normalize(torch.ones(2 * PAIRS, WIDTH, dtype=torch.float64), dim=1)
    loss = nt_xent(same, temperature=0.1, decoupled=decoupled)
    candidates = 2 * PAIRS - 2 if decoupled else 2 * PAIRS - 1
    assert float(loss) == pytest.approx(math.log(candidates), rel=1e-12)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("decoupled", DECOUPLED)
def test_narrow_embeddings_neither_overflow_nor_round_the_softmax(
    decoupled: bool, kind: torch.dtype
) -> None:
    """Logits reach 20 at T 0.05: exp(20) is above float16, and a bfloat16 logit is off by 1/16."""
    views = F.normalize(raw(32, seed=3), dim=1)
    views[32:] = views[:32]
    narrow = views.to(kind).requires_grad_()
    loss = nt_xent(narrow, temperature=0.05, decoupled=decoupled)
    (gradient,) = torch.autograd.grad(loss, [narrow])
    exact = narrow.detach().double().requires_grad_()
    expected = nt_xent(exact, temperature=0.05, decoupled=decoupled)
    (expected_gradient,) = torch.autograd.grad(expected, [exact])
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-6)
    largest = float(expected_gradient.abs().max())
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0.0, atol=largest / 100)


@pytest.mark.parametrize("decoupled", DECOUPLED)
def test_a_single_pair_has_no_loss_and_no_gradient(decoupled: bool) -> None:
    loss, gradient = value_and_gradient(raw(1), 0.1, decoupled=decoupled)
    assert float(loss) == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0.0, atol=1e-12)

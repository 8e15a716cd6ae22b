"""L_out of supervised contrast against Eq. 2 of its paper, one anchor at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainer.losses.supervised_contrast import supervised_contrast

T = 0.2
LABELS = [0, 1, 0, 2, 0, 1, 3]
"""Label 2 and label 3 have one embedding each: anchors without a positive."""


def unit(rows: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1)


def masks(labels: list[int]) -> torch.Tensor:
    of_row = torch.tensor(labels)
    return (of_row[:, None] == of_row) & ~torch.eye(len(labels), dtype=torch.bool)


def eq_2(z: np.ndarray[Any, Any], labels: list[int]) -> float:
    terms = []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        total = sum(math.exp(z[i] @ z[a] / T) for a in range(len(z)) if a != i)
        surprise = [-math.log(math.exp(z[i] @ z[p] / T) / total) for p in positives]
        terms.append(sum(surprise) / len(positives))
    return sum(terms) / len(terms)


def loss_of(z: torch.Tensor, labels: list[int]) -> torch.Tensor:
    return supervised_contrast(z, is_positive=masks(labels), temperature=T)


@pytest.mark.parametrize("labels", [LABELS, [0, 0, 1, 1, 0, 1, 0], [4] * 7])
def test_the_loss_is_eq_2_of_the_paper(labels: list[int]) -> None:
    z = unit(len(labels))
    assert float(loss_of(z, labels)) == pytest.approx(eq_2(z.numpy(), labels), rel=1e-12)


def test_the_gradient_is_that_of_the_formula() -> None:
    z = unit(len(LABELS)).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: loss_of(value, LABELS), (z,))


def test_no_positive_at_all_is_a_loss_of_0_with_a_gradient_of_0() -> None:
    z = unit(3).requires_grad_()
    loss = loss_of(z, [0, 1, 2])
    loss.backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert (float(loss.detach()), float(z.grad.abs().max())) == (0.0, 0.0)


def test_half_precision_is_widened() -> None:
    z = unit(len(LABELS)).bfloat16()
    assert loss_of(z, LABELS).dtype == torch.float32


def test_the_loss_is_that_of_pytorch_metric_learning() -> None:
    losses = pytest.importorskip(
        "pytorch_metric_learning.losses", reason="pip install pytorch-metric-learning"
    )
    z = unit(len(LABELS))
    theirs = losses.SupConLoss(temperature=T)(z, torch.tensor(LABELS))
    assert float(loss_of(z, LABELS)) == pytest.approx(float(theirs), rel=1e-9)

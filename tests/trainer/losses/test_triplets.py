"""Losses of triplets against loops over all of them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainer.losses.triplets import Mining, Triplets, distances, triplets

MARGIN = 0.2
LABELS: tuple[list[int], ...] = (
    [0, 1, 0, 2, 0, 1, 1, 2],
    [0, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 1, 2, 3, 4, 5, 6],
    [5] * 8,
)
"""Many pairs; one negative; one pair; no negative at all."""
Matrix = np.ndarray[Any, Any]


def unit(*, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(8, 3, generator=generator, dtype=torch.float64), dim=1)


def masks_of(labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    of_row = torch.tensor(labels)
    is_same = of_row[:, None] == of_row
    return is_same & ~torch.eye(len(labels), dtype=torch.bool), ~is_same


def ours(z: torch.Tensor, labels: list[int], **settings: Any) -> Triplets:  # noqa: ANN401
    squared = settings.pop("squared", True)
    return triplets(distances(z, squared=squared), masks_of(labels), margin=MARGIN, **settings)


def chosen(d: Matrix, labels: list[int], mining: Mining) -> list[tuple[float, float]]:
    """Return d_ap and d_an of the chosen triplets, by loops."""
    found = []
    rows = range(len(labels))
    for a in rows:
        positives = [p for p in rows if p != a and labels[p] == labels[a]]
        negatives = [n for n in rows if labels[n] != labels[a]]
        if not positives or not negatives:
            continue
        if mining == "batch_hard":
            found.append((max(d[a, p] for p in positives), min(d[a, n] for n in negatives)))
        for p in positives if mining != "batch_hard" else ():
            if mining == "all":
                found += [(d[a, p], d[a, n]) for n in negatives]
            else:
                farther = [d[a, n] for n in negatives if d[a, n] > d[a, p]]
                found.append((d[a, p], min(farther) if farther else max(d[a, negatives])))
    return found


def expected(d: Matrix, labels: list[int], mining: Mining) -> tuple[float, float]:
    losses = [max(0.0, ap - an + MARGIN) for ap, an in chosen(d, labels, mining)]
    active = [loss for loss in losses if loss > 0.0]
    if not losses:
        return 0.0, 0.0
    total = sum(losses) / (max(1, len(active)) if mining == "all" else len(losses))
    return total, len(active) / len(losses)


def apart_of(z: torch.Tensor, *, squared: bool) -> Matrix:
    rows = z.detach().numpy()
    found = np.array([[math.dist(a, b) for b in rows] for a in rows])
    return found**2 if squared else found


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard", "all"])
def test_the_loss_is_the_mean_over_the_chosen_triplets(
    mining: Mining, labels: list[int], squared: bool
) -> None:
    for seed in range(20):
        z = unit(seed=seed)
        loss, active = expected(apart_of(z, squared=squared), labels, mining)
        result = ours(z, labels, mining=mining, squared=squared)
        assert float(result.loss) == pytest.approx(loss, rel=1e-5, abs=1e-9)
        assert float(result.active_ratio) == pytest.approx(active, rel=1e-6)


@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard", "all"])
def test_the_gradient_is_that_of_the_chosen_triplets(mining: Mining) -> None:
    z = unit(seed=3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda value: ours(value, LABELS[0], mining=mining).loss, (z,), eps=1e-7, atol=1e-4
    )


def test_a_soft_margin_is_softplus_of_the_hardest() -> None:
    z = unit(seed=1)
    d = apart_of(z, squared=False)
    terms = [math.log1p(math.exp(ap - an)) for ap, an in chosen(d, LABELS[0], "batch_hard")]
    soft = ours(z, LABELS[0], mining="batch_hard", squared=False, soft=True)
    assert float(soft.loss) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard", "all"])
def test_one_point_rests_at_the_margin_with_a_finite_gradient(mining: Mining) -> None:
    z = F.normalize(torch.ones(8, 3, dtype=torch.float64), dim=1).requires_grad_()
    result = ours(z, LABELS[0], mining=mining, squared=False)
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert float(result.loss.detach()) == pytest.approx(MARGIN, abs=1e-6)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_all_is_that_of_pytorch_metric_learning() -> None:
    hint = "pip install pytorch-metric-learning"
    theirs = pytest.importorskip("pytorch_metric_learning.losses", reason=hint)
    apart = pytest.importorskip("pytorch_metric_learning.distances", reason=hint)
    z = unit(seed=2)
    loss = theirs.TripletMarginLoss(margin=MARGIN, distance=apart.LpDistance(power=2))
    wanted = loss(z, torch.tensor(LABELS[0]))
    assert float(ours(z, LABELS[0], mining="all").loss) == pytest.approx(float(wanted), rel=1e-9)

"""The loss of Siamese pairs against the formula of its paper, pair by pair."""

import math

import numpy as np
import pytest
import torch

from trainer.losses.siamese_pairs import drawn_other, pairs

IDENTITIES = [0, 1, 0, 0, 2, 1, 0, 0]
MARGIN = 1.0


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 8, 4, generator=generator, dtype=torch.float64) * 0.4
    return first, second


def test_the_loss_is_that_of_the_paper() -> None:
    """Twice Eq. 4 of Hadsell et al., in which Y = 0 marks an alike pair."""
    first, second = embeddings()
    other, has_other = drawn_other(torch.tensor(IDENTITIES))
    terms, right = [], []
    for i, j in enumerate(other.tolist()):
        alike = math.dist(first[i], second[i])
        apart = math.dist(first[i], second[j])
        terms += [2 * 0.5 * alike**2, 2 * 0.5 * max(0.0, MARGIN - apart) ** 2]
        right += [alike < MARGIN / 2, apart >= MARGIN / 2]
    result = pairs(first, second, other=other, has_other=has_other, margin=MARGIN)
    assert float(result.loss) == pytest.approx(np.mean(terms), rel=1e-9)
    assert float(result.right_ratio) == pytest.approx(np.mean(right))


def test_the_other_row_is_of_another_identity() -> None:
    other, has_other = drawn_other(torch.tensor(IDENTITIES))
    assert bool(has_other.all())
    assert all(IDENTITIES[i] != IDENTITIES[j] for i, j in enumerate(other.tolist()))
    rows = len(IDENTITIES)
    for i, j in enumerate(other.tolist()):
        around = [(i + step) % rows for step in range(rows)]
        candidates = [row for row in around if IDENTITIES[row] != IDENTITIES[i]]
        assert j == candidates[i % len(candidates)]


def test_in_a_shuffled_batch_every_other_row_is_as_likely() -> None:
    """The order of a batch is the draw."""
    draw = np.random.default_rng(0)
    counts = np.zeros((8, 8))
    for _ in range(4000):
        order = draw.permutation(8)
        other, _ = drawn_other(torch.tensor(IDENTITIES)[torch.from_numpy(order)])
        counts[order, order[other.numpy()]] += 1
    for row, identity in enumerate(IDENTITIES):
        share = counts[row] / counts[row].sum()
        candidates = np.array([each != identity for each in IDENTITIES])
        assert share[~candidates].sum() == 0
        assert share[candidates] == pytest.approx(1 / candidates.sum(), abs=0.04)


def test_rows_of_one_identity_have_alike_pairs_alone() -> None:
    first, second = embeddings()
    first.requires_grad_()
    other, has_other = drawn_other(torch.zeros(8, dtype=torch.int64))
    assert not has_other.any()
    result = pairs(first, second, other=other, has_other=has_other, margin=MARGIN)
    assert float(result.loss.detach()) == pytest.approx(
        float((first.detach() - second).square().sum(1).mean())
    )
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


def test_equal_embeddings_of_other_rows_have_a_finite_gradient() -> None:
    first = torch.zeros(4, 3, requires_grad=True)
    other, has_other = drawn_other(torch.arange(4))
    result = pairs(first, torch.zeros(4, 3), other=other, has_other=has_other, margin=MARGIN)
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert float(result.loss.detach()) == pytest.approx(MARGIN**2 / 2, rel=1e-4)
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()

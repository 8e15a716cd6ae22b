"""The vote against a loop over rows and neighbours, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from trainer.evaluators.base import Stopped
from trainer.evaluators.knn import evaluator
from trainer.evaluators.knn.evaluator import knn_ranks
from trainer.evaluators.knn.spec import ResolvedKnnSpec


def made_up(rows: int, seed: int, *, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, rows)
    centres = np.random.default_rng(99).normal(size=(classes, 6))
    features = centres[labels] + draw.normal(scale=1.6, size=(rows, 6))
    lengths = draw.uniform(0.5, 3.0, (rows, 1))  # the evaluator must look at angles only
    return torch.tensor(features * lengths), torch.tensor(labels)


def knn_top1(
    bank: tuple[torch.Tensor, torch.Tensor],
    test: tuple[torch.Tensor, torch.Tensor],
    spec: ResolvedKnnSpec,
) -> float:
    ranks = knn_ranks(bank, test, spec=spec, classes=4)
    return float((ranks == 0).double().mean())


def loop(
    bank: tuple[torch.Tensor, torch.Tensor],
    test: tuple[torch.Tensor, torch.Tensor],
    k: int,
    t: float,
) -> float:
    """The authors' knn_predict for one row after the other."""
    memory = bank[0] / bank[0].norm(dim=1, keepdim=True)
    right = 0
    for feature, label in zip(*test, strict=True):
        similarity = memory @ (feature / feature.norm())
        near = similarity.argsort(descending=True)[:k]
        scores = np.zeros(10)
        for index in near.tolist():
            scores[int(bank[1][index])] += np.exp(float(similarity[index]) / t)
        right += int(scores.argmax()) == int(label)
    return right / len(test[1])


@pytest.mark.parametrize("cells", [10**9, 700])
@pytest.mark.parametrize(("k", "t"), [(1, 0.1), (20, 0.1), (200, 0.5), (1000, 0.07)])
def test_equals_a_plain_loop(k: int, t: float, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "VOTE_CELLS", cells)
    bank, test = made_up(300, 0), made_up(60, 1)
    found = knn_top1(bank, test, ResolvedKnnSpec(k=k, temperature=t, baselines=True))
    assert found == pytest.approx(loop(bank, test, min(k, 300), t))
    assert 0.3 < found < 1.0


def test_equals_scikit_learn_with_the_same_weights() -> None:
    bank, test = made_up(400, 2), made_up(100, 3)
    oracle = KNeighborsClassifier(50, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.1))
    oracle.fit(bank[0].numpy(), bank[1].numpy())
    expected = oracle.score(test[0].numpy(), test[1].numpy())
    found = knn_top1(bank, test, ResolvedKnnSpec(k=50, baselines=True))
    assert found == pytest.approx(expected)


def test_stops_when_told_to() -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        knn_ranks(
            made_up(30, 0),
            made_up(9, 1),
            spec=ResolvedKnnSpec(k=5, baselines=True),
            classes=4,
            stop_if_asked=stop,
        )


def test_a_tiny_temperature_does_not_overflow() -> None:
    spec = ResolvedKnnSpec(k=5, temperature=1e-4, baselines=True)
    found = knn_top1(made_up(200, 0), made_up(50, 1), spec)
    assert found > 0.3


def test_the_first_classes_are_those_of_scikit_learn() -> None:
    """Top-3 of 4 classes, from the probabilities of the same vote."""
    bank, test = made_up(400, 4), made_up(100, 5)
    oracle = KNeighborsClassifier(50, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.1))
    shares = oracle.fit(bank[0].numpy(), bank[1].numpy()).predict_proba(test[0].numpy())
    expected = top_k_accuracy_score(test[1].numpy(), shares, k=3)
    ranks = knn_ranks(bank, test, spec=ResolvedKnnSpec(k=50, baselines=True), classes=4)
    assert float((ranks < 3).double().mean()) == pytest.approx(expected)


def test_an_unknown_class_has_the_last_rank_and_of_equals_the_lower_number_is_first() -> None:
    bank = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([2, 1])
    test = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([1, 2, -1])
    spec = ResolvedKnnSpec(k=2, baselines=True)
    assert knn_ranks(bank, test, spec=spec, classes=4).tolist() == [0, 1, 4]

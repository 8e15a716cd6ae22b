"""Logistic regression and its scalers against scikit-learn."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from trainer.evaluators.logistic import by_column, by_spread, fit


def made_up(rows: int, columns: int, classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draw = np.random.default_rng(rows)
    labels = np.append(np.arange(classes), draw.integers(0, classes, rows - classes))
    centers = draw.normal(size=(classes, columns))
    return 0.6 * centers[labels] + draw.normal(size=(rows, columns)), labels


@pytest.mark.parametrize(
    ("rows", "columns", "classes", "strength"),
    [
        (200, 10, 3, 1.0),
        (200, 10, 2, 0.01),
        pytest.param(40, 60, 4, 0.1, id="fewer rows than columns"),
    ],
)
def test_coefficients_are_those_of_scikit_learn(
    rows: int, columns: int, classes: int, strength: float
) -> None:
    features, labels = made_up(rows, columns, classes)
    oracle = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(features, labels)
    model = fit(
        torch.from_numpy(features), torch.from_numpy(labels), classes=classes, strength=strength
    )
    weights, bias = model.weights.numpy(), model.bias.numpy()
    if classes == 2:  # theirs has one vector: the difference
        weights, bias = weights[1:] - weights[:1], bias[1:] - bias[:1]
    assert model.has_converged
    assert weights == pytest.approx(oracle.coef_, abs=1e-4)
    assert bias == pytest.approx(oracle.intercept_, abs=1e-4)
    shares = model.log_probabilities(torch.from_numpy(features)).exp().numpy()
    assert shares == pytest.approx(oracle.predict_proba(features), abs=1e-4)


def test_a_class_without_rows_is_never_answered() -> None:
    features, labels = made_up(60, 5, 3)
    labels[labels == 1] = 2
    model = fit(torch.from_numpy(features), torch.from_numpy(labels), classes=4, strength=1.0)
    shares = model.log_probabilities(torch.from_numpy(features)).exp()
    assert shares[:, [1, 3]].max() == 0.0
    assert shares.sum(1).numpy() == pytest.approx(np.ones(60))


def test_scalers() -> None:
    features, _ = made_up(50, 4, 2)
    features[:, 2] = 7.0
    values = torch.from_numpy(features * [1.0, 5.0, 1.0, 0.1])
    expected = StandardScaler().fit_transform(values.numpy())
    assert by_column(values)(values).numpy() == pytest.approx(expected, abs=1e-12)
    scaled = by_spread(values)(values)
    assert scaled.mean(0).abs().max() < 1e-12
    assert float(scaled.square().mean()) == pytest.approx(1.0)
    ratios = ((scaled[1:] - scaled[0]) / (values[1:] - values[0])).numpy()[:, [0, 1, 3]]
    assert np.ptp(ratios) < 1e-9 * ratios.mean()

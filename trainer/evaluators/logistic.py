"""Multinomial logistic regression with an L2 penalty: float64, on the CPU, without randomness."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ITERATIONS_MAX = 1_000
GRADIENT_MAX = 1e-6
"""Largest component of the gradient of the mean loss at which a fit has converged."""
HISTORY = 20
"""Pairs of steps and gradients that L-BFGS keeps."""


def go_on() -> None:
    """Do nothing: the fit is not to be stopped."""


class Classifier(NamedTuple):
    """A fitted regression. A row without any of its classes has no logit."""

    weights: Tensor
    """float64 [C, D]."""
    bias: Tensor
    """float64 [C]; -inf for a class without training rows."""
    has_converged: bool

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log probabilities float64 [N, C] of features [N, D]."""
        return F.log_softmax(features.double() @ self.weights.T + self.bias, dim=1)


class Scaler(NamedTuple):
    """Mean and scale of features."""

    mean: Tensor  # float64 [D]
    scale: Tensor  # float64 [D] or []

    def __call__(self, features: Tensor) -> Tensor:
        """Return scaled features, float64 [N, D]."""
        return (features.double() - self.mean) / self.scale


def by_column(features: Tensor) -> Scaler:
    """Return the scaler to mean 0 and standard deviation 1 in each column that is not constant."""
    values = features.double()
    std = values.std(dim=0, correction=0)
    return Scaler(values.mean(dim=0), torch.where(std > 1e-12, std, 1.0))


def by_spread(features: Tensor) -> Scaler:
    """Return the scaler to mean 0 in each column, and to a mean square of 1 over all of them.

    One penalty then fits features of any scale, and columns keep their proportions: raw pixels
    that hardly vary are not blown up, which matters with few labels.
    """
    values = features.double()
    mean = values.mean(dim=0)
    return Scaler(mean, (values - mean).square().mean().sqrt().clamp(min=1e-12))


def fit(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    strength: float,
    check: Callable[[], None] = go_on,
) -> Classifier:
    """Fit features float64 [N, D] of labels int64 [N] in [0, classes) by full-batch L-BFGS.

    Minimizes the mean cross-entropy + |weights|^2 / (2 N C), where C is the `strength`, from zero:
    the problem that scikit-learn's LogisticRegression solves, for two classes too, whose single
    weight vector is the difference of these two. `check` is called at each evaluation and may
    raise. With fewer rows than columns the fit is done in the space that the rows span, where the
    solution lies.
    """
    classes_there, inverse = np.unique(labels.numpy(), return_inverse=True)
    present, targets = torch.from_numpy(classes_there), torch.from_numpy(inverse)
    basis = _basis(features)
    inputs = features if basis is None else features @ basis
    penalty = (2.0 if len(present) == 2 else 1.0) / (2.0 * len(inputs) * strength)
    solved, has_converged = _minimized(inputs, targets, len(present), penalty, check)
    weights, bias = solved[:, :-1], solved[:, -1]
    if basis is not None:
        weights = weights @ basis.T
    every = torch.zeros(classes, weights.shape[1], dtype=torch.float64)
    biases = torch.full((classes,), -torch.inf, dtype=torch.float64)
    return Classifier(
        every.index_copy(0, present, weights), biases.index_copy(0, present, bias), has_converged
    )


def _basis(features: Tensor) -> Tensor | None:
    """Return an orthonormal basis [D, N] of the rows' span; None where it would save nothing."""
    rows, columns = features.shape
    if rows >= columns:
        return None
    basis: Tensor = torch.linalg.svd(features, full_matrices=False).Vh.T
    return basis


def _minimized(
    inputs: Tensor, targets: Tensor, classes: int, penalty: float, check: Callable[[], None]
) -> tuple[Tensor, bool]:
    """Return weights and bias [C, D + 1] at the minimum, and True if the gradient is small."""
    solution = torch.zeros(classes, inputs.shape[1] + 1, dtype=torch.float64)
    solution.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [solution],
        max_iter=ITERATIONS_MAX,
        max_eval=2 * ITERATIONS_MAX,
        tolerance_grad=GRADIENT_MAX,
        tolerance_change=0.0,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        check()
        value, gradient = _loss(solution.detach(), inputs, targets, penalty)
        solution.grad = gradient
        return float(value)

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    _, gradient = _loss(solution.detach(), inputs, targets, penalty)
    return solution.detach(), float(gradient.abs().max()) <= 10 * GRADIENT_MAX


def _loss(
    solution: Tensor, inputs: Tensor, targets: Tensor, penalty: float
) -> tuple[Tensor, Tensor]:
    """Return the penalized mean cross-entropy [] and its gradient [C, D + 1]."""
    weights = solution[:, :-1]
    logs = F.log_softmax(inputs @ weights.T + solution[:, -1], dim=1)
    value = F.nll_loss(logs, targets) + penalty * weights.square().sum()
    residual = logs.exp()
    residual[torch.arange(len(targets)), targets] -= 1.0
    residual /= len(targets)
    by_weight = residual.T @ inputs + 2.0 * penalty * weights
    return value, torch.cat([by_weight, residual.sum(0)[:, None]], dim=1)

"""Fits of the linear probe: exact by L-BFGS, or by the SGD of MoCo v1 and v2."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trainer.evaluators.base import FeatureBank
from trainer.evaluators.classification import Answers
from trainer.evaluators.labelled_rows import Labelled
from trainer.evaluators.linear.spec import STRENGTHS, ResolvedLinearProbeSpec
from trainer.evaluators.logistic import Classifier, Scaler, by_column, fit
from trainer.rng.philox import permuted_rows, uniforms
from trainer.rng.seeds import derived_seed

SGD_EPOCHS, SGD_BATCH_ROWS, SGD_MOMENTUM = 100, 256, 0.9
SGD_MILESTONES = (60, 80)
"""Epochs after which the learning rate is divided by 10."""
INITIAL_STD = 0.01


class Probe(NamedTuple):
    """A fitted probe."""

    classifier: Classifier
    scaler: Scaler
    validation: Answers
    """Answers for the validation rows, of a fit without them."""
    notes: tuple[str, ...] = ()

    def probabilities(self, features: Tensor) -> NDArray[np.float64]:
        """Return the probability of each class, float64 [N, C], for features [N, D]."""
        return _probabilities(self.classifier, self.scaler(features))


class ProbeFit(NamedTuple):
    """Way in which probes are fitted: the same for each kind of features."""

    spec: ResolvedLinearProbeSpec
    classes: int
    seed: int

    def __call__(self, data: Labelled, *, validation: Tensor, bank: FeatureBank) -> Probe:
        """Fit the rows of the bank, with labels in [0, classes).

        `validation` are places int64 among them: the fit that is tried on them does not see them;
        the last one is of all rows. Raises Stopped as `bank` says.
        """
        is_held_out = torch.zeros(len(data.labels), dtype=torch.bool)
        is_held_out[validation] = True
        is_exact = self.spec.protocol == "lbfgs"
        scaler = by_column(data.features) if is_exact else _as_they_are(data.features)
        whole = Labelled(scaler(data.features), data.labels)
        rest, tried = whole.at(~is_held_out), whole.at(is_held_out)
        if not is_exact:
            first, last = self._sgd(rest, bank), self._sgd(whole, bank)
            return Probe(last, scaler, _answers(first, tried))
        fits = {strength: self._exact(rest, strength, bank) for strength in STRENGTHS}
        strength = min(STRENGTHS, key=lambda each: _loss(fits[each], tried))
        last = self._exact(whole, strength, bank)
        notes = [f"C = {strength:g}, chosen on {len(validation)} of {len(data.labels)} rows."]
        if not last.has_converged:
            notes.append("The fit did not converge.")
        return Probe(last, scaler, _answers(fits[strength], tried), tuple(notes))

    def _exact(self, part: Labelled, strength: float, bank: FeatureBank) -> Classifier:
        # Ranks agree here: how often the fit itself asks may differ between machines.
        bank.stop_if_asked()
        return fit(
            part.features,
            part.labels,
            classes=self.classes,
            strength=strength,
            check=bank.stop_if_alone,
        )

    def _sgd(self, part: Labelled, bank: FeatureBank) -> Classifier:
        """Return the classifier of MoCo's main_lincls.py, without weight decay."""
        inputs, targets = part
        weights = _normal(self.classes, inputs.shape[1], seed=self.seed) * INITIAL_STD
        solution = torch.cat([weights, weights.new_zeros(self.classes, 1)], dim=1)
        velocity = torch.zeros_like(solution)
        rows, key = len(targets), derived_seed(self.seed, "linear probe")
        for epoch in range(SGD_EPOCHS):
            bank.stop_if_asked()
            rate = self.spec.lr * 0.1 ** sum(epoch >= milestone for milestone in SGD_MILESTONES)
            order = permuted_rows(torch.arange(rows), total=rows, seed=key, epoch=epoch)
            for batch in torch.split(order, SGD_BATCH_ROWS):
                gradient = _gradient(solution, inputs[batch], targets[batch])
                velocity = SGD_MOMENTUM * velocity + gradient
                solution = solution - rate * velocity
        return Classifier(solution[:, :-1], solution[:, -1], has_converged=True)


def _loss(classifier: Classifier, part: Labelled) -> float:
    """Return the mean log loss; a class that the fit has not seen counts as probability 1e-12."""
    logs = classifier.log_probabilities(part.features).clamp(min=math.log(1e-12))
    return float(F.nll_loss(logs, part.labels))


def _answers(classifier: Classifier, part: Labelled) -> Answers:
    return Answers(_probabilities(classifier, part.features), part.labels.numpy())


def _probabilities(classifier: Classifier, scaled: Tensor) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = classifier.log_probabilities(scaled).exp().numpy()
    return shares


def _as_they_are(features: Tensor) -> Scaler:
    zeros = torch.zeros(features.shape[1], dtype=torch.float64)
    return Scaler(zeros, torch.ones_like(zeros))


def _gradient(solution: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient of the mean cross-entropy, float64 [C, D + 1]."""
    logits = inputs @ solution[:, :-1].T + solution[:, -1]
    residual = logits.softmax(1) - F.one_hot(targets, logits.shape[1])
    ones = inputs.new_ones(len(inputs), 1)
    return residual.T @ torch.cat([inputs, ones], dim=1) / len(inputs)


def _normal(rows: int, columns: int, *, seed: int) -> Tensor:
    """Return standard normal numbers float64 [rows, columns], by Box and Muller's transform."""
    key = derived_seed(seed, "linear probe weights")
    drawn = uniforms(torch.arange(rows), seed=key, epoch=0, view=0, count=2 * columns).double()
    first, second = 1.0 - drawn[:, :columns], drawn[:, columns:]
    return (-2.0 * first.log()).sqrt() * (2.0 * math.pi * second).cos()

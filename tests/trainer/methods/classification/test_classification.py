"""Classification against its formula, and what a frozen encoder keeps."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from tests.support.trainer.learner import TwoLayers
from trainer.engine.step import EagerStep
from trainer.methods.base import Embeddings
from trainer.methods.classification.method import Classification
from trainer.methods.classification.spec import ResolvedClassificationSpec
from trainer.nn.views import Batch, Pixels
from trainer.optim.optimizer import make_optimizer
from trainer.optim.spec import ResolvedAdamWSpec

CLASSES, ROWS = 4, 24
COUNTS = torch.tensor([9, 1, 0, 14])


def method_of(**settings: Any) -> Classification:  # noqa: ANN401
    torch.manual_seed(0)
    spec = ResolvedClassificationSpec(classes=CLASSES, **settings)
    return Classification(spec, TwoLayers(1), bf16=False).double()


def loss_of(method: Classification, logits: Tensor, labels: Tensor) -> float:
    return float(method.loss(Embeddings((logits,), (logits,)), labels).loss)


def drawn() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, CLASSES, (ROWS,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, "balanced"])
def test_the_loss_is_weighted_cross_entropy_of_smoothed_labels(
    smoothing: float, weights: str | None
) -> None:
    method = method_of(label_smoothing=smoothing, class_weights=weights)
    method.set_label_rows(COUNTS)
    logits, labels = drawn()
    values = logits.numpy()
    log_p = values - np.log(np.exp(values).sum(1, keepdims=True))
    targets = np.full((ROWS, CLASSES), smoothing / CLASSES)
    targets[np.arange(ROWS), labels.numpy()] += 1 - smoothing
    w = np.ones(CLASSES)
    if weights:
        given = np.repeat(np.arange(CLASSES), COUNTS.numpy())
        present = np.unique(given)
        w[:] = 0.0
        w[present] = compute_class_weight("balanced", classes=present, y=given)
    expected = -(w[labels.numpy()] * (targets * log_p).sum(1)).mean()
    assert loss_of(method, logits, labels) == pytest.approx(expected, rel=1e-7)


def test_parts_of_a_batch_add_up_to_its_loss() -> None:
    """Balanced weights included, as ranks and micro-batches need it."""
    method = method_of(class_weights="balanced")
    method.set_label_rows(COUNTS)
    logits, labels = drawn()
    parts = zip(logits.chunk(3), labels.chunk(3), strict=True)
    mean = np.mean([loss_of(method, *part) for part in parts])
    assert loss_of(method, logits, labels) == pytest.approx(mean, rel=1e-12)


def test_a_fresh_head_answers_nearly_evenly() -> None:
    """Its loss is that of guessing, so that a pretrained encoder gets no large first steps."""
    method = method_of(head="mlp")
    pixels = torch.randn(ROWS, 3, 8, 8, dtype=torch.float64)
    logits = method.embed(Pixels(pixels), feature="projection")
    labels = torch.zeros(ROWS, dtype=torch.int64)
    output = method.loss(Embeddings((logits,), (logits,)), labels)
    signals = method.signals(output, dataset_rows=ROWS)
    assert signals["loss"] == pytest.approx(signals["chance_loss"], rel=0.05)


def stepped(method: Classification, *, epochs: int) -> list[dict[str, Tensor]]:
    """Return the encoder's state after each epoch of one step: AdamW, which decays at once."""
    optim = ResolvedAdamWSpec(lr=0.01, weight_decay=0.1)
    stepping = EagerStep(method, make_optimizer(optim, method.trainable_parameters()))
    states = []
    for epoch in range(epochs):
        method.eval()  # as an evaluation between the epochs does
        method.train()
        method.set_epoch(epoch)
        pixels = torch.randn(ROWS, 3, 8, 8, dtype=torch.float64)
        labels = torch.arange(ROWS) % CLASSES
        output = stepping.gradient(Batch((Pixels(pixels),), labels, labels), torch.empty(0))
        stepping.update(output, lr=0.01)
        states.append({name: value.clone() for name, value in method.encoder.state_dict().items()})
    return states


@pytest.mark.parametrize(("freeze", "kept"), [(True, 4), (2, 2), (False, 0)])
def test_a_frozen_encoder_keeps_its_weights_and_its_statistics(freeze: bool, kept: int) -> None:
    """Running means and variances, and their counters, included; the head learns all along."""
    method = method_of(freeze=freeze)
    before = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    head = method.classifier.state_dict()["0.weight"].clone()
    states = stepped(method, epochs=4)
    for epoch, state in enumerate(states):
        changed = {name for name, value in state.items() if not torch.equal(value, before[name])}
        assert changed == (set() if epoch < kept else set(before))
    assert not torch.equal(method.classifier.state_dict()["0.weight"], head)
    norms = [each for each in method.encoder.modules() if isinstance(each, nn.BatchNorm2d)]
    assert {norm.training for norm in norms} == {kept < 4}
    assert ("tower.encoder.0.weight" in method.trainable_parameters()) == (freeze is not True)

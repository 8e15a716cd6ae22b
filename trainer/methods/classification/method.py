"""Classification: an encoder and a head learn labels by cross-entropy."""

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.methods.base import Embeddings, Feature, Method, StepOutput
from trainer.methods.classification.spec import ResolvedClassificationSpec
from trainer.nn.heads import HeadForm, mlp_head
from trainer.nn.towers import Tower, feature_dim, learned_parameters
from trainer.nn.views import Batch, View
from trainer.spec.resolved import ResolvedSpec

HEAD_STD = 0.01
"""Spread of the last layer's first weights: answers then are nearly even, at the loss of guessing.
The value of the MoCo authors' main_lincls.py."""


class Classification(Method):
    """One tower whose head has a logit for each class; identities are numbers of classes.

    While the encoder is frozen it is in eval mode and its parameters take no gradient, so that the
    optimizer leaves them alone, decay and momentum included.
    """

    def __init__(self, spec: ResolvedClassificationSpec, encoder: nn.Module, *, bf16: bool) -> None:
        super().__init__()
        self.spec = spec
        self.tower = Tower(encoder, _head(spec, feature_dim(encoder)), bf16=bf16)
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.ones(spec.classes))
        self._of_encoder = tuple(learned_parameters(encoder, "tower.encoder"))
        self._is_frozen = False
        if spec.freeze:
            self._freeze(True)

    @property
    def encoder(self) -> nn.Module:
        """The encoder, without its head."""
        return self.tower.encoder

    @property
    def classifier(self) -> nn.Module:
        """The head, from features [B, D] to logits [B, classes]."""
        return self.tower.head

    @property
    def stage(self) -> int:
        """Stage of the run: 0 while the encoder is frozen, 1 while it learns."""
        return 0 if self._is_frozen else 1

    def set_epoch(self, epoch: int) -> None:
        """Freeze the encoder for this epoch, or let it learn."""
        freeze = self.spec.freeze
        is_frozen = freeze if isinstance(freeze, bool) else epoch < freeze
        if is_frozen != self._is_frozen:
            self._freeze(is_frozen)

    def _freeze(self, is_frozen: bool) -> None:
        self._is_frozen = is_frozen
        for name in self._of_encoder:
            self.get_parameter(name).requires_grad_(not is_frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen encoder stays in eval mode."""
        super().train(mode)
        if self._is_frozen:
            self.tower.encoder.eval()
        return self

    def set_label_rows(self, counts: Tensor) -> None:
        """Weigh the classes by the number of their rows, int64 [classes], as the spec says.

        n / (C n_c), as scikit-learn's `balanced`: 1 on average over rows, 0 for a class without.
        """
        if self.spec.class_weights is None:
            return
        present = (counts > 0).sum()
        weights = counts.sum() / (present * counts.clamp(min=1)).double() * (counts > 0)
        self.class_weights.copy_(weights)

    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return the logits of the first view of each row, [B, classes], in both places."""
        del random_inputs
        with self.timer.phase("query"):
            logits = self.tower.features(batch.views[0], feature="projection")
        return Embeddings((logits,), (logits,))

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return the mean over rows of w_y CE(logits, y), with smoothed labels.

        Weights are 1 on average over the rows of the dataset, so the sum is divided by the number
        of rows: parts of a batch, on ranks or one after another, add up to it.
        """
        (logits,), _ = embeddings
        with self.timer.phase("loss"):
            of_rows = F.cross_entropy(
                logits, identities, reduction="none", label_smoothing=self.spec.label_smoothing
            )
            loss = (of_rows * self.class_weights[identities]).mean()
        return StepOutput(loss, logits, logits, identities, loss_terms=1)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the head and, unless it is always frozen, of the encoder."""
        of_head = learned_parameters(self.tower.head, "tower.head")
        if self.spec.freeze is True:
            return of_head
        return {name: self.get_parameter(name) for name in self._of_encoder} | of_head

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view; `projection` are the logits."""
        return self.tower.features(view, feature=feature)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return the loss and the accuracy on the batch."""
        del dataset_rows
        is_right = output.queries.argmax(1) == output.identities
        return {
            "loss": float(output.loss.detach()),
            "chance_loss": math.log(self.spec.classes),
            "train_accuracy_ratio": float(is_right.double().mean()),
        }


def _head(spec: ResolvedClassificationSpec, width: int) -> nn.Sequential:
    """Return the head of a classifier of features [N, width]."""
    layers = 1 if spec.head == "linear" else 2
    form = HeadForm(width, spec.classes, layers=layers, batch_norm="none")
    head = mlp_head(width, form)
    last = head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=HEAD_STD)
    nn.init.zeros_(last.bias)
    return head


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> Classification:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedClassificationSpec)
    return Classification(spec.method, encoder, bf16=bf16)

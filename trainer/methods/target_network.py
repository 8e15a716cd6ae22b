"""Methods that predict the projection of a target network, which follows by EMA."""

import copy
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.methods.base import Embeddings, Feature, Method, StepOutput
from trainer.nn.heads import HeadForm, mlp_head
from trainer.nn.momentum import Momentum
from trainer.nn.towers import Tower, feature_dim, learned_parameters
from trainer.nn.views import Batch, View


class HeadForms(NamedTuple):
    """Projection head of both networks, and the predictor of the one that learns."""

    projector: HeadForm
    predictor: HeadForm


class PredictingTower(Tower):
    """An encoder, its projection head and a predictor: views to predictions."""

    def __init__(self, encoder: nn.Module, forms: HeadForms, *, bf16: bool) -> None:
        """`bf16`: products in bfloat16, weights and results in fp32."""
        head = mlp_head(feature_dim(encoder), forms.projector)
        super().__init__(encoder, head, bf16=bf16)
        self.predictor = mlp_head(forms.projector.dim, forms.predictor)

    def predicted(self, view: View) -> tuple[Tensor, Tensor]:
        """Return predictions [B, dim], unit vectors, and projections as they are."""
        projections = self.features(view, feature="projection")
        with torch.autocast(projections.device.type, torch.bfloat16, enabled=self.bf16):
            predictions: Tensor = self.predictor(projections)
        return F.normalize(predictions.to(projections.dtype), dim=1), projections


class TargetNetworkMethod(Method):
    """A network predicts, from each view, what its slow copy makes of each other view.

    The copy runs in training mode: its batch norm has the statistics of its own views.
    """

    def __init__(
        self, encoder: nn.Module, forms: HeadForms, momentum: Momentum, *, bf16: bool
    ) -> None:
        super().__init__()
        self.query = PredictingTower(encoder, forms, bf16=bf16)
        head = copy.deepcopy(self.query.head)
        target = Tower(copy.deepcopy(encoder), head, bf16=bf16)
        self.key = target.requires_grad_(False)
        self.momentum = momentum

    @property
    def encoder(self) -> nn.Module:
        """The encoder that learns, without its heads."""
        return self.query.encoder

    @property
    def online(self) -> nn.Module:
        """Encoder and projection head, which the target follows; without the predictor."""
        return nn.ModuleList([self.query.encoder, self.query.head])

    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return the prediction of one view and the target of another, for each order of two views.

        Of views 0 and 1: the predictions of both, and the targets of 1 and of 0.
        """
        del random_inputs
        with self.timer.phase("query"):
            predictions = [self.query.predicted(view)[0] for view in batch.views]
        with self.timer.phase("key"), torch.no_grad():
            targets = [self.key(view) for view in batch.views]
        orders = list(permutations(range(len(batch.views)), 2))
        return Embeddings(
            tuple(predictions[view] for view, _ in orders),
            tuple(targets[other] for _, other in orders),
        )

    def set_progress(self, progress: float) -> None:
        """Fill the momentum of the next update."""
        self.momentum.set_progress(progress)

    def after_step(self, output: StepOutput) -> None:
        """Move the target by EMA."""
        del output
        with self.timer.phase("momentum"):
            self.momentum.follow_(self.key, self.online)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return encoder, projection head and predictor."""
        return learned_parameters(self.query, "query")

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized, by the encoder that learns."""
        return self.query.features(view, feature=feature)

"""VICReg: alike views, spread and uncorrelated dimensions, no negatives (arXiv:2105.04906)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.losses.embedding_signals import without_negatives
from trainer.losses.vicreg import VICRegTerms, vicreg_terms
from trainer.methods.base import Embeddings, Feature, Method, StepOutput
from trainer.methods.head_forms import projector_form
from trainer.methods.vicreg.spec import ResolvedVICRegSpec
from trainer.nn.heads import mlp_head
from trainer.nn.towers import Tower, feature_dim, learned_parameters
from trainer.nn.views import Batch, View
from trainer.spec.resolved import ResolvedSpec


class VICReg(Method):
    """One tower, whose projections are not normalized. Covariances are those of the whole batch."""

    gathers = Embeddings._fields

    def __init__(self, spec: ResolvedVICRegSpec, encoder: nn.Module, *, bf16: bool) -> None:
        super().__init__()
        self.spec = spec
        width = feature_dim(encoder)
        self.tower = Tower(encoder, mlp_head(width, projector_form(spec, width)), bf16=bf16)

    @property
    def encoder(self) -> nn.Module:
        """The encoder, without its head."""
        return self.tower.encoder

    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return projections of view 0, and of each other view, each from a pass of its own."""
        del random_inputs
        with self.timer.phase("query"):
            first, *others = (
                self.tower.features(view, feature="projection") for view in batch.views
            )
        return Embeddings((first,), tuple(others))

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return the weighted sum of the three terms; of more than two views the mean of pairs."""
        views = (*embeddings.queries, *embeddings.keys)
        with self.timer.phase("loss"):
            loss = self._weighted(vicreg_terms(*views))
        return StepOutput(loss, views[0], views[1], identities, loss_terms=1)

    def _weighted(self, terms: VICRegTerms) -> Tensor:
        spec = self.spec
        return (
            spec.invariance_weight * terms.invariance
            + spec.variance_weight * terms.variance
            + spec.covariance_weight * terms.covariance
        )

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything in the tower."""
        return learned_parameters(self.tower, "tower")

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized."""
        return self.tower.features(view, feature=feature)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return the terms, and signals of view 0. There is no loss of guessing."""
        del dataset_rows
        terms = vicreg_terms(output.queries, output.keys)
        first, second = (F.normalize(each, dim=1) for each in (output.queries, output.keys))
        return {
            "loss": float(output.loss.detach()),
            "invariance_loss": float(terms.invariance),
            "variance_loss": float(terms.variance),
            "covariance_loss": float(terms.covariance),
            **without_negatives(first, second),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> VICReg:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedVICRegSpec)
    return VICReg(spec.method, encoder, bf16=bf16)

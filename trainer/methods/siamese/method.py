"""Siamese pairs: alike ones near, others at least a margin apart."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.losses.embedding_signals import of_embeddings
from trainer.losses.siamese_pairs import Pairs, drawn_other, pairs
from trainer.methods.base import Embeddings, StepOutput
from trainer.methods.both_views import BothViews, every, mean_over_pairs
from trainer.methods.siamese.spec import SiameseSpec
from trainer.nn.heads import HeadForm
from trainer.nn.negative_mask import NegativeMask
from trainer.nn.towers import feature_dim
from trainer.nn.views import View
from trainer.spec.resolved import ResolvedSpec


class Siamese(BothViews):
    """Two pairs of each row: one alike, one not."""

    def __init__(self, spec: SiameseSpec, encoder: nn.Module, *, bf16: bool) -> None:
        form = HeadForm(feature_dim(encoder), spec.dim, splits=spec.batch_norm_groups)
        super().__init__(encoder, form, bf16=bf16)
        self.spec = spec

    def embedded(self, view: View) -> Tensor:
        """Return embeddings [B, dim], as they are or as unit vectors."""
        features = self.tower.features(view, feature="projection")
        return F.normalize(features, dim=1) if self.spec.normalize else features

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return the mean loss of all pairs; of more than two views the mean over their pairs."""
        views = every(embeddings)
        with self.timer.phase("loss"):
            loss = mean_over_pairs(
                views, lambda first, second: self._pairs(first, second, identities).loss
            )
        return StepOutput(loss, views[0], views[1], identities, loss_terms=1)

    def _pairs(self, first: Tensor, second: Tensor, identities: Tensor) -> Pairs:
        other, has_other = drawn_other(identities)
        return pairs(first, second, other=other, has_other=has_other, margin=self.spec.margin)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of view 0 against all embeddings of other labels in the batch."""
        del dataset_rows
        rows = output.identities
        queries, keys = F.normalize(output.queries, dim=1), F.normalize(output.keys, dim=1)
        mask = NegativeMask(rows, rows.repeat(2), empty=-1)
        return {
            "loss": float(output.loss.detach()),
            **of_embeddings(queries, keys, torch.cat([queries, keys]), mask),
            "pair_accuracy_ratio": float(
                self._pairs(output.queries, output.keys, rows).right_ratio
            ),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> Siamese:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, SiameseSpec)
    return Siamese(spec.method, encoder, bf16=bf16)

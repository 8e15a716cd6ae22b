"""Triplets: an embedding is nearer to its positives than to its negatives by a margin."""

import torch
from torch import Tensor, nn

from trainer.losses.embedding_signals import of_embeddings
from trainer.losses.triplets import Triplets, distances, triplets
from trainer.methods.base import Embeddings, StepOutput
from trainer.methods.both_views import BothViews, every, other_rows
from trainer.methods.triplet.spec import ResolvedTripletSpec
from trainer.nn.heads import HeadForm
from trainer.nn.negative_mask import NegativeMask
from trainer.nn.towers import feature_dim
from trainer.spec.resolved import ResolvedSpec


class TripletMethod(BothViews):
    """Triplets of all views of a batch."""

    def __init__(self, spec: ResolvedTripletSpec, encoder: nn.Module, *, bf16: bool) -> None:
        form = HeadForm(feature_dim(encoder), spec.dim, splits=spec.batch_norm_groups)
        super().__init__(encoder, form, bf16=bf16)
        self.spec = spec

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return the mean loss of the triplets that the spec chooses."""
        views = every(embeddings)
        with self.timer.phase("loss"):
            loss = self._triplets(views, identities).loss
        return StepOutput(loss, views[0], views[1], identities, loss_terms=1)

    def _triplets(self, views: tuple[Tensor, ...], identities: Tensor) -> Triplets:
        spec = self.spec
        is_positive, is_negative = other_rows(identities, views=len(views))
        apart = distances(torch.cat(views), squared=spec.squared)
        return triplets(
            apart,
            (is_positive, is_negative),
            mining=spec.mining,
            margin=spec.margin,
            soft=spec.soft,
        )

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of view 0 against all embeddings of other labels in the batch."""
        del dataset_rows
        queries, keys, rows = output.queries, output.keys, output.identities
        mask = NegativeMask(rows, rows.repeat(2), empty=-1)
        return {
            "loss": float(output.loss.detach()),
            **of_embeddings(queries, keys, torch.cat([queries, keys]), mask),
            "active_triplets_ratio": float(self._triplets((queries, keys), rows).active_ratio),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> TripletMethod:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedTripletSpec)
    return TripletMethod(spec.method, encoder, bf16=bf16)

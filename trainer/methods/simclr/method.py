"""SimCLR: each view finds the other view of its row among the whole batch (arXiv:2002.05709)."""

import math

import torch
from torch import Tensor, nn

from trainer.losses.embedding_signals import of_embeddings
from trainer.losses.nt_xent import nt_xent
from trainer.methods.base import Embeddings, Feature, Method, StepOutput
from trainer.methods.simclr.spec import ResolvedSimCLRSpec
from trainer.nn.negative_mask import NegativeMask
from trainer.nn.split_batchnorm import SplitBatchNorm1d, group_count
from trainer.nn.towers import Tower, feature_dim, learned_parameters
from trainer.nn.views import Batch, View, joined_views
from trainer.spec.resolved import ResolvedSpec


class SimCLR(Method):
    """One tower, trained by both views. All state is its weights."""

    gathers = Embeddings._fields

    def __init__(self, spec: ResolvedSimCLRSpec, encoder: nn.Module, *, bf16: bool) -> None:
        super().__init__()
        self.spec = spec
        head = _head(feature_dim(encoder), spec.dim, bn_splits=spec.batch_norm_groups)
        self.tower = Tower(encoder, head, bf16=bf16)

    @property
    def encoder(self) -> nn.Module:
        """The encoder, without its head."""
        return self.tower.encoder

    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return embeddings of view 0 and of view 1, from one pass over both.

        Batch norm sees both views together, as the authors' code does: those of the whole batch,
        or of each group of rows.
        """
        del random_inputs
        runs = self._runs(len(batch.rows))
        with self.timer.phase("query"):
            embeddings: Tensor = self.tower(joined_views(batch.views, runs=runs))
        first, second = embeddings.view(runs, 2, -1, embeddings.shape[1]).unbind(1)
        return Embeddings((first.flatten(0, 1),), (second.flatten(0, 1),))

    def _runs(self, rows: int) -> int:
        """Return the number of runs of this rank's rows that batch norm is computed in."""
        ranks = self.world.size
        groups = group_count(2 * rows * ranks, splits=self.spec.batch_norm_groups) // ranks
        return groups if groups and rows % groups == 0 else 1

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return NT-Xent, the mean over both views of every row. Source: Eq. 1 of the paper."""
        (first,), (second,) = embeddings
        with self.timer.phase("loss"):
            loss = nt_xent(
                torch.cat([first, second]),
                temperature=self.spec.temperature,
                decoupled=self.spec.decoupled,
                identities=identities,
            )
        return StepOutput(loss, first, second, identities, loss_terms=1)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything in the tower that learns."""
        return learned_parameters(self.tower, "tower")

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized."""
        return self.tower.features(view, feature=feature)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of view 0 against all other embeddings of the batch."""
        del dataset_rows
        queries, keys, rows = output.queries, output.keys, output.identities
        # The own row is masked: what is left are the negatives of the loss.
        mask = NegativeMask(rows, rows.repeat(2), empty=-1)
        return {
            "loss": float(output.loss.detach()),
            "chance_loss": math.log(max(1, 2 * len(rows) - (2 if self.spec.decoupled else 1))),
            **of_embeddings(queries, keys, torch.cat([queries, keys]), mask),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> SimCLR:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedSimCLRSpec)
    return SimCLR(spec.method, encoder, bf16=bf16)


def _head(width: int, dim: int, *, bn_splits: int) -> nn.Module:
    """Return the paper's projection head: one hidden layer with batch norm, no bias before it."""
    return nn.Sequential(
        nn.Linear(width, width, bias=False),
        SplitBatchNorm1d(width, splits=bn_splits),
        nn.ReLU(),
        nn.Linear(width, dim),
    )

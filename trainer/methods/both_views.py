"""A method of one tower that all views of every row train, whatever its loss is."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from trainer.methods.base import Embeddings, Feature, Method
from trainer.nn.heads import HeadForm, mlp_head
from trainer.nn.split_batchnorm import group_count
from trainer.nn.towers import Tower, feature_dim, learned_parameters
from trainer.nn.views import Batch, View, joined_views


class BothViews(Method):
    """One tower, trained by all views. All state is its weights. A method adds its loss."""

    gathers = Embeddings._fields

    def __init__(self, encoder: nn.Module, form: HeadForm, *, bf16: bool) -> None:
        """`form` is that of the projection head; the encoder's batch norm has as many splits."""
        super().__init__()
        self.batch_norm_groups = form.splits
        self.tower = Tower(encoder, mlp_head(feature_dim(encoder), form), bf16=bf16)

    @property
    def encoder(self) -> nn.Module:
        """The encoder, without its head."""
        return self.tower.encoder

    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return embeddings of view 0, and of each other view as its keys, from one pass over all.

        Batch norm sees all views together, as the authors' code of SimCLR does: those of the whole
        batch, or of each group of rows.
        """
        del random_inputs
        views = len(batch.views)
        runs = self._runs(len(batch.rows), views=views)
        with self.timer.phase("query"):
            embeddings = self.embedded(joined_views(batch.views, runs=runs))
        parts = embeddings.view(runs, views, -1, embeddings.shape[1]).unbind(1)
        first, *others = (part.flatten(0, 1) for part in parts)
        return Embeddings((first,), tuple(others))

    def embedded(self, view: View) -> Tensor:
        """Return the embeddings that the loss compares, [B, dim]: unit vectors by default."""
        embeddings: Tensor = self.tower(view)
        return embeddings

    def _runs(self, rows: int, *, views: int) -> int:
        """Return the number of runs of this rank's rows that batch norm is computed in."""
        ranks = self.world.size
        groups = group_count(views * rows * ranks, splits=self.batch_norm_groups) // ranks
        return groups if groups and rows % groups == 0 else 1

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything in the tower that learns."""
        return learned_parameters(self.tower, "tower")

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized."""
        return self.tower.features(view, feature=feature)


def every(embeddings: Embeddings) -> tuple[Tensor, ...]:
    """Return the embeddings of each view, [B, dim] each."""
    return (*embeddings.queries, *embeddings.keys)


def mean_over_pairs(views: Sequence[Tensor], loss_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the mean loss over all pairs of views, the earlier one first."""
    losses = [loss_of(first, second) for first, second in combinations(views, 2)]
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


def other_rows(identities: Tensor, *, views: int) -> tuple[Tensor, Tensor]:
    """Return which of V x B embeddings are positives and negatives of each, bool [V B, V B] each.

    Rows i, i + B, ... are the views of a row with `identities[i]`. Positives share it, but for the
    embedding itself.
    """
    own = identities.repeat(views)
    is_same = own[:, None] == own
    itself = torch.eye(len(own), dtype=torch.bool, device=own.device)
    return is_same & ~itself, ~is_same

"""A method of one tower that both views of every row train, whatever its loss is."""

import torch
from torch import Tensor, nn

from trainer.methods.base import Embeddings, Feature, Method
from trainer.nn.heads import HeadForm, mlp_head
from trainer.nn.split_batchnorm import group_count
from trainer.nn.towers import Tower, feature_dim, learned_parameters
from trainer.nn.views import Batch, View, joined_views


class BothViews(Method):
    """One tower, trained by both views. All state is its weights. A method adds its loss."""

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
        """Return embeddings of view 0 and of view 1, from one pass over both.

        Batch norm sees both views together, as the authors' code of SimCLR does: those of the whole
        batch, or of each group of rows.
        """
        del random_inputs
        runs = self._runs(len(batch.rows))
        with self.timer.phase("query"):
            embeddings = self.embedded(joined_views(batch.views, runs=runs))
        first, second = embeddings.view(runs, 2, -1, embeddings.shape[1]).unbind(1)
        return Embeddings((first.flatten(0, 1),), (second.flatten(0, 1),))

    def embedded(self, view: View) -> Tensor:
        """Return the embeddings that the loss compares, [B, dim]: unit vectors by default."""
        embeddings: Tensor = self.tower(view)
        return embeddings

    def _runs(self, rows: int) -> int:
        """Return the number of runs of this rank's rows that batch norm is computed in."""
        ranks = self.world.size
        groups = group_count(2 * rows * ranks, splits=self.batch_norm_groups) // ranks
        return groups if groups and rows % groups == 0 else 1

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything in the tower that learns."""
        return learned_parameters(self.tower, "tower")

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized."""
        return self.tower.features(view, feature=feature)


def both(embeddings: Embeddings) -> tuple[Tensor, Tensor]:
    """Return the embeddings of view 0 and of view 1, [B, dim] each."""
    (first,), (second,) = embeddings.queries, embeddings.keys
    return first, second


def other_rows(identities: Tensor) -> tuple[Tensor, Tensor]:
    """Return which of 2B embeddings are positives and negatives of each, bool [2B, 2B] each.

    Rows i and i + B are the views of a row with `identities[i]`. Positives share it, but for the
    embedding itself.
    """
    own = identities.repeat(2)
    is_same = own[:, None] == own
    itself = torch.eye(len(own), dtype=torch.bool, device=own.device)
    return is_same & ~itself, ~is_same

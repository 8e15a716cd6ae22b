"""Supervised contrast: all views of a label are positives of each other (arXiv:2004.11362)."""

import math

import torch
from torch import Tensor, nn

from trainer.losses.embedding_signals import of_embeddings
from trainer.losses.supervised_contrast import supervised_contrast
from trainer.methods.base import Embeddings, StepOutput
from trainer.methods.both_views import BothViews, every, other_rows
from trainer.methods.supcon.spec import ResolvedSupConSpec
from trainer.nn.heads import HeadForm
from trainer.nn.negative_mask import NegativeMask
from trainer.nn.towers import feature_dim
from trainer.spec.resolved import ResolvedSpec


class SupCon(BothViews):
    """Every view finds all other views of its label in the batch."""

    def __init__(
        self, spec: ResolvedSupConSpec, encoder: nn.Module, *, views: int = 2, bf16: bool
    ) -> None:
        """`views`: of each row."""
        form = HeadForm(feature_dim(encoder), spec.dim, splits=spec.batch_norm_groups)
        super().__init__(encoder, form, bf16=bf16)
        self.spec, self.views = spec, views

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return L_out, the mean over all views of every row. Source: Eq. 2 of the paper."""
        views = every(embeddings)
        with self.timer.phase("loss"):
            loss = supervised_contrast(
                torch.cat(views),
                is_positive=other_rows(identities, views=len(views))[0],
                temperature=self.spec.temperature,
            )
        return StepOutput(loss, views[0], views[1], identities, loss_terms=1)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of view 0 against all embeddings of other labels in the batch."""
        del dataset_rows
        queries, keys, rows = output.queries, output.keys, output.identities
        mask = NegativeMask(rows, rows.repeat(2), empty=-1)
        is_alone = (rows[:, None] == rows).sum(1) == 1
        return {
            "loss": float(output.loss.detach()),
            "chance_loss": math.log(max(1, self.views * len(rows) - 1)),
            **of_embeddings(queries, keys, torch.cat([queries, keys]), mask),
            "anchors_without_positive_ratio": float(is_alone.double().mean()),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> SupCon:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedSupConSpec)
    return SupCon(spec.method, encoder, views=spec.views.count, bf16=bf16)

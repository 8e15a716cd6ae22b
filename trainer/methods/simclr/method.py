"""SimCLR: each view finds the other view of its row among the whole batch (arXiv:2002.05709)."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from trainer.losses.embedding_signals import of_embeddings
from trainer.losses.nt_xent import nt_xent
from trainer.methods.base import Embeddings, StepOutput
from trainer.methods.both_views import BothViews, every, mean_over_pairs
from trainer.methods.head_forms import projector_form
from trainer.methods.simclr.spec import ResolvedSimCLRSpec
from trainer.nn.negative_mask import NegativeMask
from trainer.nn.towers import feature_dim
from trainer.spec.resolved import ResolvedSpec


class SimCLR(BothViews):
    """Both views find each other by NT-Xent."""

    def __init__(self, spec: ResolvedSimCLRSpec, encoder: nn.Module, *, bf16: bool) -> None:
        super().__init__(encoder, projector_form(spec, feature_dim(encoder)), bf16=bf16)
        self.spec = spec

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return NT-Xent, the mean over both views of every row. Source: Eq. 1 of the paper.

        Of more than two views: the mean over their pairs, as the full graph of arXiv:1906.05849.
        """
        views = every(embeddings)
        with self.timer.phase("loss"):
            loss = mean_over_pairs(views, partial(self._nt_xent, identities=identities))
        return StepOutput(loss, views[0], views[1], identities, loss_terms=1)

    def _nt_xent(self, first: Tensor, second: Tensor, *, identities: Tensor) -> Tensor:
        return nt_xent(
            torch.cat([first, second]),
            temperature=self.spec.temperature,
            decoupled=self.spec.decoupled,
            identities=identities,
        )

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

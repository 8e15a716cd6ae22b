"""NNCLR: positives are nearest neighbors among earlier projections (arXiv:2104.14548)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.losses.embedding_signals import contrast, effective_rank, std_ratio
from trainer.losses.info_nce import info_nce_in_batch
from trainer.methods.base import Embeddings, Feature, Method, StepOutput
from trainer.methods.head_forms import projector_form
from trainer.methods.nnclr.spec import ResolvedNNCLRSpec
from trainer.methods.target_network import HeadForms, PredictingTower
from trainer.nn.negative_mask import NegativeMask
from trainer.nn.negative_queue import EMPTY, NegativeQueue
from trainer.nn.towers import feature_dim, learned_parameters
from trainer.nn.views import Batch, View
from trainer.rng.seeds import derived_seed
from trainer.spec.resolved import ResolvedSpec


class NNCLR(Method):
    """One tower with a predictor, and a queue of its own projections."""

    gathers = Embeddings._fields

    def __init__(
        self, spec: ResolvedNNCLRSpec, encoder: nn.Module, *, seed: int, bf16: bool
    ) -> None:
        """`seed` draws the vectors that the queue starts with."""
        super().__init__()
        self.spec = spec
        self.tower = PredictingTower(encoder, _forms(spec, feature_dim(encoder)), bf16=bf16)
        support_seed = derived_seed(seed, "negatives")
        self.support = NegativeQueue(spec.queue_rows, spec.dim, start="random", seed=support_seed)

    @property
    def encoder(self) -> nn.Module:
        """The encoder, without its heads."""
        return self.tower.encoder

    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return predictions of view 1 and of view 0, and projections of view 0 and of view 1."""
        del random_inputs
        with self.timer.phase("query"):
            (first, of_first), (second, of_second) = map(self.tower.predicted, batch.views)
        keys = (F.normalize(each.detach(), dim=1) for each in (of_first, of_second))
        return Embeddings((second, first), tuple(keys))

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return the mean over both orders of how each neighbor finds the other view's prediction.

        Source: Eq. 3 of the paper. `keys` of the output are projections, which the queue takes.
        """
        with self.timer.phase("loss"):
            losses = [
                info_nce_in_batch(
                    self.neighbors(projections),
                    predictions,
                    identities,
                    temperature=self.spec.temperature,
                )
                for predictions, projections in zip(*embeddings, strict=True)
            ]
        (queries, _), (keys, _) = embeddings
        return StepOutput((losses[0] + losses[1]) / 2.0, queries, keys, identities, loss_terms=1)

    @torch.no_grad()
    def neighbors(self, projections: Tensor) -> Tensor:
        """Return the vector of the queue that is nearest to each projection, [B, dim]."""
        return self.support.keys[(projections @ self.support.keys.T).argmax(1)]

    def after_step(self, output: StepOutput) -> None:
        """Enqueue the projections of view 0."""
        with self.timer.phase("enqueue"):
            self.support.push(output.keys, output.identities)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything in the tower."""
        return learned_parameters(self.tower, "tower")

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized."""
        return self.tower.features(view, feature=feature)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of the neighbors of view 0 against the predictions of view 1."""
        predictions, rows = output.queries, output.identities
        return {
            "loss": float(output.loss.detach()),
            "chance_loss": math.log(len(rows)),
            **contrast(
                self.neighbors(output.keys),
                predictions,
                predictions,
                NegativeMask(rows, rows, empty=EMPTY),
            ),
            "embedding_std_ratio": std_ratio(output.keys),
            "embedding_effective_rank": effective_rank(output.keys),
            **self.support.signals(dataset_rows=dataset_rows),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> NNCLR:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedNNCLRSpec)
    return NNCLR(spec.method, encoder, seed=spec.seed, bf16=bf16)


def _forms(spec: ResolvedNNCLRSpec, width: int) -> HeadForms:
    projector = projector_form(spec, width)
    predictor = projector._replace(hidden=spec.predictor_hidden, layers=2, batch_norm="hidden")
    return HeadForms(projector, predictor)

"""BYOL: predict the target network's projection of the other view (arXiv:2006.07733)."""

import torch
from torch import Tensor, nn

from trainer.losses.embedding_signals import without_negatives
from trainer.methods.base import Embeddings, StepOutput
from trainer.methods.byol.spec import ResolvedBYOLSpec
from trainer.methods.head_forms import projector_form
from trainer.methods.target_network import HeadForms, TargetNetworkMethod
from trainer.nn.ema import distance_ratio
from trainer.nn.momentum import Momentum
from trainer.nn.towers import feature_dim
from trainer.spec.resolved import ResolvedSpec


class BYOL(TargetNetworkMethod):
    """Two networks, no negatives. The loss needs no other rank's rows."""

    def __init__(self, spec: ResolvedBYOLSpec, encoder: nn.Module, *, bf16: bool) -> None:
        momentum = Momentum(spec.momentum, schedule=spec.momentum_schedule)
        super().__init__(encoder, _forms(spec, feature_dim(encoder)), momentum, bf16=bf16)

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return 2 - 2 cos, the mean over rows and all orders of two views.

        Source: Eq. 2 of the paper, whose code adds the orders up: half of it.
        """
        with self.timer.phase("loss"):
            pairs = zip(*embeddings, strict=True)
            distances = [2.0 - 2.0 * (query * key).sum(1) for query, key in pairs]
            loss = torch.stack(distances).mean()
        query, key = embeddings.queries[0], embeddings.keys[0]
        return StepOutput(loss, query, key, identities, loss_terms=1)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of the predictions of view 0. There is no loss of guessing."""
        del dataset_rows
        return {
            "loss": float(output.loss.detach()),
            **without_negatives(output.queries, output.keys),
            "key_encoder_distance_ratio": distance_ratio(self.key, self.online),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> BYOL:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedBYOLSpec)
    return BYOL(spec.method, encoder, bf16=bf16)


def _forms(spec: ResolvedBYOLSpec, width: int) -> HeadForms:
    """Return the heads: no bias in the last layers, as in the authors' code."""
    projector = projector_form(spec, width, has_last_bias=False)
    return HeadForms(projector, projector._replace(hidden=spec.predictor_hidden, layers=2))

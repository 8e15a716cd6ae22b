"""Momentum Contrast, version 3: a predictor, and keys of the same batch (arXiv:2104.02057)."""

import math

import torch
from torch import Tensor, nn

from trainer.losses.embedding_signals import of_embeddings
from trainer.losses.info_nce import Negatives, info_nce_in_batch
from trainer.methods.base import Embeddings, StepOutput
from trainer.methods.head_forms import projector_form
from trainer.methods.moco_v3.spec import ResolvedMoCoV3Spec
from trainer.methods.target_network import HeadForms, TargetNetworkMethod
from trainer.nn.ema import distance_ratio
from trainer.nn.momentum import Momentum
from trainer.nn.negative_mask import NegativeMask
from trainer.nn.negative_queue import EMPTY, NegativeQueue
from trainer.nn.towers import feature_dim
from trainer.rng.seeds import derived_seed
from trainer.spec.resolved import ResolvedSpec


class MoCoV3(TargetNetworkMethod):
    """Each prediction finds its key among those of the whole batch, and of a queue if there is one.

    The queue starts empty, so that all negatives are real keys.
    """

    gathers = Embeddings._fields

    def __init__(
        self, spec: ResolvedMoCoV3Spec, encoder: nn.Module, *, seed: int, bf16: bool
    ) -> None:
        """`seed` is that of the queue."""
        momentum = Momentum(spec.momentum, schedule=spec.momentum_schedule)
        super().__init__(encoder, _forms(spec, feature_dim(encoder)), momentum, bf16=bf16)
        self.spec = spec
        self.queue: NegativeQueue | None = None
        if spec.queue_rows:
            queue_seed = derived_seed(seed, "negatives")
            self.queue = NegativeQueue(spec.queue_rows, spec.dim, start="empty", seed=queue_seed)

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return 2 T times the sum of InfoNCE of both orders. Source: Algorithm 1 of the paper."""
        with self.timer.phase("loss"):
            losses = [
                info_nce_in_batch(
                    query,
                    key,
                    identities,
                    temperature=self.spec.temperature,
                    besides=self._negatives(identities),
                )
                for query, key in zip(*embeddings, strict=True)
            ]
        return StepOutput(
            loss=2.0 * self.spec.temperature * (losses[0] + losses[1]),
            queries=torch.cat(embeddings.queries),
            keys=torch.cat(embeddings.keys),
            identities=identities.repeat(2),
            loss_terms=2,
        )

    def _negatives(self, identities: Tensor) -> Negatives | None:
        if self.queue is None:
            return None
        return Negatives(self.queue.keys, self.queue.mask_for(identities))

    def after_step(self, output: StepOutput) -> None:
        """Move the target by EMA, then enqueue the keys of both views."""
        super().after_step(output)
        if self.queue is not None:
            with self.timer.phase("enqueue"):
                self.queue.push(output.keys, output.identities)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of the predictions of view 0; `loss` is the mean InfoNCE of a query."""
        rows = len(output.identities) // 2
        queries, keys, identities = (
            each[:rows] for each in (output.queries, output.keys, output.identities)
        )
        negatives, owners = keys, identities
        of_queue: dict[str, float] = {}
        if self.queue is not None:
            negatives = torch.cat([keys, self.queue.keys])
            owners = torch.cat([identities, self.queue.rows])
            of_queue = self.queue.signals(dataset_rows=dataset_rows)
        valid = rows + (0 if self.queue is None else self.queue.valid_rows())
        mask = NegativeMask(identities, owners, empty=EMPTY)
        return {
            "loss": float(output.loss.detach()) / (4.0 * self.spec.temperature),
            "chance_loss": math.log(valid),
            **of_embeddings(queries, keys, negatives, mask),
            **of_queue,
            "key_encoder_distance_ratio": distance_ratio(self.key, self.online),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> MoCoV3:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedMoCoV3Spec)
    return MoCoV3(spec.method, encoder, seed=spec.seed, bf16=bf16)


def _forms(spec: ResolvedMoCoV3Spec, width: int) -> HeadForms:
    """Return the heads: no bias in any last layer, as in the authors' code."""
    projector = projector_form(spec, width, has_last_bias=False)
    predictor = projector._replace(
        hidden=spec.predictor_hidden, layers=2, batch_norm=spec.predictor_batch_norm
    )
    return HeadForms(projector, predictor)

"""Momentum Contrast, versions 1 and 2 (arXiv:1911.05722, arXiv:2003.04297)."""

import copy
import math

import torch
from torch import Tensor, nn

from trainer.losses.embedding_signals import of_embeddings
from trainer.losses.info_nce import Negatives, info_nce, info_nce_in_batch
from trainer.methods.base import Embeddings, Feature, Method, StepOutput
from trainer.methods.head_forms import projector_form
from trainer.methods.moco.spec import LearnedTemperature, ResolvedMoCoSpec
from trainer.nn.ema import distance_ratio
from trainer.nn.heads import mlp_head
from trainer.nn.momentum import Momentum
from trainer.nn.negative_queue import NegativeQueue
from trainer.nn.towers import Tower, feature_dim, learned_parameters
from trainer.nn.views import Batch, View
from trainer.rng.philox import NEWEST_ORDER, permuted_rows
from trainer.rng.seeds import derived_seed
from trainer.spec.resolved import ResolvedSpec

LOG_SCALE_MAX = math.log(100.0)
"""Largest logarithm of 1 / T of a learned temperature, as in CLIP: T is at least 0.01."""


class MoCo(Method):
    """The query tower learns by gradient; the key tower only follows it."""

    def __init__(
        self,
        spec: ResolvedMoCoSpec,
        encoder: nn.Module,
        *,
        seed: int,
        bf16: bool,
        order: int = NEWEST_ORDER,
    ) -> None:
        """`seed` draws negatives and the order of keys, by the rule `order`."""
        super().__init__()
        self.spec, self.seed, self.order = spec, seed, order
        self.query = Tower(encoder, _head(spec, feature_dim(encoder)), bf16=bf16)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.momentum = Momentum(spec.momentum, schedule=spec.momentum_schedule)
        self.negatives = NegativeQueue(
            spec.queue_rows,
            spec.dim,
            start=spec.negatives_start,
            seed=derived_seed(seed, "negatives"),
        )
        self.log_scale: nn.Parameter | None = None
        if isinstance(spec.temperature, LearnedTemperature):
            self.log_scale = nn.Parameter(torch.tensor(-math.log(spec.temperature.learned)))
        if spec.in_batch:
            self.gathers = Embeddings._fields

    @property
    def encoder(self) -> nn.Module:
        """The query encoder, without its head."""
        return self.query.encoder

    def random_inputs(self, rows: int, *, step: int) -> Tensor:
        """Return the order in which keys are made, and the way back: int64 [halves, 2, rows].

        Empty without split batch norm, which alone asks for an order.
        """
        if self.spec.bn != "split":
            return torch.empty(2, 2, 0, dtype=torch.int64)
        with self.timer.phase("key"):
            halves = range(2 if self.spec.symmetric else 1)
            return torch.stack([_order_and_back(self._order(rows, half, step)) for half in halves])

    def _order(self, rows: int, half: int, step: int) -> Tensor:
        """Return the order of this rank's keys, int64 [rows]; rows stay within their part.

        The parts are runs of the global batch, and each rank has whole ones: their orders are the
        same on any number of ranks.
        """
        parts = self.spec.shuffle_parts // self.world.size
        orders = [
            permuted_rows(
                torch.arange(len(run)),
                total=len(run),
                seed=derived_seed(self.seed, self._purpose(half, self.world.rank * parts + part)),
                epoch=step,
                order=self.order,
            )
            + run[0]
            for part, run in enumerate(torch.arange(rows).tensor_split(parts))
            if len(run)
        ]
        return torch.cat(orders)

    def _purpose(self, half: int, part: int) -> str:
        """Return the name of a part's draw, which is that of older versions for one part."""
        suffix = f"/{part}" if self.spec.shuffle_parts > 1 else ""
        return f"key order {half}{suffix}"

    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return queries of view 0 and keys of view 1; if symmetric also the reverse.

        Mutates nothing but the running statistics of batch norm.
        """
        first, second = batch.views
        pairs = [(first, second), (second, first)] if self.spec.symmetric else [(first, second)]
        halves = [
            self._half(*pair, order) for pair, order in zip(pairs, random_inputs, strict=False)
        ]
        return Embeddings(*zip(*halves, strict=True))

    def _half(self, view_q: View, view_k: View, order: Tensor) -> tuple[Tensor, Tensor]:
        with self.timer.phase("query"):
            query: Tensor = self.query(view_q)
        with self.timer.phase("key"):
            return query, self._keys(view_k, order)

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return InfoNCE; the symmetric loss is the sum of both halves, as in the notebook.

        Source: Algorithm 1 of arXiv:1911.05722.
        """
        negatives = self.negatives.keys
        if self.query.bf16 and negatives.device.type == "cpu":
            negatives = negatives.bfloat16()
        with self.timer.phase("loss"):
            queue = Negatives(negatives, self.negatives.mask_for(self._owners(identities)))
            losses = [
                self._info_nce(query, key, queue, identities)
                for query, key in zip(*embeddings, strict=True)
            ]
        if len(losses) == 1:
            (query,), (key,) = embeddings
            return StepOutput(losses[0], query, key, identities, loss_terms=1)
        return StepOutput(
            loss=losses[0] + losses[1],
            queries=torch.cat(embeddings.queries[::-1]),
            keys=torch.cat(embeddings.keys[::-1]),  # keys of view 0, then of view 1
            identities=identities.repeat(2),
            loss_terms=2,
        )

    def _info_nce(self, query: Tensor, key: Tensor, queue: Negatives, identities: Tensor) -> Tensor:
        """Return InfoNCE of one half. A learned temperature scales the queries, with a gradient."""
        temperature = self.spec.temperature
        if isinstance(temperature, LearnedTemperature):
            assert self.log_scale is not None
            query, temperature = query * self.log_scale.exp(), 1.0
        if self.spec.in_batch:
            return info_nce_in_batch(query, key, identities, temperature=temperature, besides=queue)
        return info_nce(query, key, queue.keys, temperature=temperature, mask=queue.mask)

    @torch.no_grad()
    def _keys(self, view: View, order_and_back: Tensor) -> Tensor:
        """Return keys [B, dim].

        With split batch norm the rows are regrouped: else a row's query and key would both carry
        the statistics of one group.
        """
        if self.spec.bn != "split":
            return self.key(view)  # type: ignore[no-any-return]  # nn.Module.__call__ is Any
        order, back = order_and_back
        keys: Tensor = self.key(type(view)(*(tensor[order] for tensor in view)))
        return keys[back]

    def _owners(self, identities: Tensor) -> Tensor | None:
        return identities if self.spec.mask_own_keys else None

    def set_progress(self, progress: float) -> None:
        """Fill the momentum of the next update."""
        self.momentum.set_progress(progress)

    def after_step(self, output: StepOutput) -> None:
        """Update the key tower by EMA, then enqueue the keys.

        Both happen after backward, so no tensor that the gradient needs must be cloned.
        """
        with self.timer.phase("momentum"):
            self.momentum.follow_(self.key, self.query)
        with self.timer.phase("enqueue"):
            self.negatives.push(output.keys, output.identities)
        if self.log_scale is not None:
            with torch.no_grad():
                self.log_scale.clamp_(0.0, LOG_SCALE_MAX)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything in the query tower that learns, and a learned temperature."""
        parameters = learned_parameters(self.query, "query")
        return parameters if self.log_scale is None else parameters | {"log_scale": self.log_scale}

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized, by the query encoder."""
        return self.query.features(view, feature=feature)

    @torch.no_grad()
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return signals of queries against the negatives as they see them now.

        `loss` is the mean InfoNCE of a query: the symmetric loss, a sum of two, is halved so that
        it can be held against `chance_loss`.
        """
        negatives = self.negatives
        mask = negatives.mask_for(self._owners(output.identities))
        in_batch = len(output.identities) // output.loss_terms - 1 if self.spec.in_batch else 0
        learned = (
            {} if self.log_scale is None else {"temperature": math.exp(-float(self.log_scale))}
        )
        return {
            "loss": float(output.loss.detach()) / output.loss_terms,
            "chance_loss": math.log1p(negatives.valid_rows() + in_batch),
            **learned,
            **of_embeddings(output.queries, output.keys, negatives.keys, mask),
            **negatives.signals(dataset_rows=dataset_rows),
            "key_encoder_distance_ratio": distance_ratio(self.key, self.query),
        }


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> MoCo:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, ResolvedMoCoSpec)
    return MoCo(spec.method, encoder, seed=spec.seed, bf16=bf16, order=spec.order)


def _order_and_back(order: Tensor) -> Tensor:
    """Return a permutation and its inverse, int64 [2, rows]."""
    rows = torch.arange(len(order))
    return torch.stack([order, torch.empty_like(order).scatter_(0, order, rows)])


def _head(spec: ResolvedMoCoSpec, width: int) -> nn.Module:
    """Version 1: one layer. Version 2: width-ReLU-dim, unless the spec says otherwise."""
    if spec.head == "linear":
        return nn.Linear(width, spec.dim)
    return mlp_head(width, projector_form(spec, width))

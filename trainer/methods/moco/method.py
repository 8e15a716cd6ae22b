"""Momentum Contrast, versions 1 and 2 (arXiv:1911.05722, arXiv:2003.04297)."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.accel.ops import Accelerator
from trainer.encoders.build import build_encoder, feature_dim
from trainer.losses import info_nce
from trainer.method import Feature, Method, Negatives, Outcome
from trainer.methods.moco.spec import MoCoSpec
from trainer.momentum import distance_ratio, follow
from trainer.negatives import NegativeQueue
from trainer.randomness import NEWEST_ORDER, shuffled
from trainer.seeds import derived_seed, scoped_seed
from trainer.spec import JobSpec


class Tower(nn.Module):
    """An encoder with its head: views to embeddings."""

    def __init__(self, encoder: nn.Module, head: nn.Module, *, bf16: bool) -> None:
        """`bf16`: convolutions and products in bfloat16, weights and results in fp32."""
        super().__init__()
        self.encoder, self.head, self.bf16 = encoder, head, bf16

    def forward(self, views: Tensor) -> Tensor:
        """[B, 3, S, S] to unit vectors [B, dim]."""
        return F.normalize(self.features(views, feature="projection"), dim=1)

    def features(self, views: Tensor, *, feature: Feature) -> Tensor:
        """[B, 3, S, S] to [B, D] in the precision of the weights."""
        if self.bf16:
            # Narrow first: on a CPU both at once takes twice as long.
            views = views.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        with torch.autocast(views.device.type, torch.bfloat16, enabled=self.bf16):
            found: Tensor = self.encoder(views)
            if feature == "projection":
                found = self.head(found)
        return found.float() if self.bf16 else found


class MoCo(Method):
    """The query tower learns by gradient; the key tower only follows it."""

    def __init__(
        self,
        spec: MoCoSpec,
        encoder: nn.Module,
        *,
        seed: int,
        bf16: bool,
        order: int = NEWEST_ORDER,
    ) -> None:
        """`spec` is resolved; `seed` draws negatives and the order of keys, by the rule `order`."""
        super().__init__()
        assert spec.queue_rows is not None
        self.spec, self.seed, self.order = spec, seed, order
        self.query = Tower(encoder, _head(spec, feature_dim(encoder)), bf16=bf16)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.negatives = NegativeQueue(
            spec.queue_rows,
            spec.dim,
            start=spec.negatives_start,
            seed=derived_seed(seed, "negatives"),
        )

    @property
    def encoder(self) -> nn.Module:
        """The query encoder, without its head."""
        return self.query.encoder

    def drawn(self, rows: int, *, step: int) -> Tensor:
        """The order in which keys are made, and the way back: int64 [halves, 2, rows].

        Empty without split batch norm, which alone asks for an order.
        """
        if self.spec.bn == "plain":
            return torch.empty(2, 2, 0, dtype=torch.int64)
        with self.clock.phase("key"):
            return torch.stack(
                [
                    _order_and_back(
                        rows,
                        seed=derived_seed(self.seed, f"key order {half}"),
                        at=step,
                        order=self.order,
                    )
                    for half in range(2 if self.spec.symmetric else 1)
                ]
            )

    def loss_of(self, first: Tensor, second: Tensor, rows: Tensor, drawn: Tensor) -> Outcome:
        """InfoNCE of queries from `first` and keys from `second`, and if symmetric the reverse.

        The symmetric loss is the sum of both halves, as in the authors' notebook. Mutates nothing
        but the running statistics of batch norm. Source: Algorithm 1 of arXiv:1911.05722.
        """
        loss, query, key = self._half(first, second, rows, drawn[0])
        if not self.spec.symmetric:
            return Outcome(loss, query, key, rows, halves=1)
        other_loss, other_query, other_key = self._half(second, first, rows, drawn[1])
        return Outcome(
            loss=loss + other_loss,
            queries=torch.cat([other_query, query]),
            keys=torch.cat([other_key, key]),  # keys of `first`, then of `second`
            rows=rows.repeat(2),
            halves=2,
        )

    def _half(
        self, view_q: Tensor, view_k: Tensor, rows: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key = self._embeddings(view_q, view_k, drawn)
        is_rounded = self.query.bf16 and query.device.type == "cpu"
        with self.clock.phase("loss"):
            loss = info_nce(
                query,
                key,
                self.negatives.keys.bfloat16() if is_rounded else self.negatives.keys,
                temperature=self.spec.temperature or 0.0,
                hidden=self.negatives.hidden_from(self._owners(rows)),
            )
        return loss, query, key

    def _embeddings(self, view_q: Tensor, view_k: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return query and key embeddings, [B, dim] each."""
        with self.clock.phase("query"):
            query = self.query(view_q)
        with self.clock.phase("key"):
            return query, self._keys(view_k, drawn)

    @torch.no_grad()
    def _keys(self, views: Tensor, drawn: Tensor) -> Tensor:
        """Keys [B, dim].

        With split batch norm the rows are regrouped: else a row's query and key would both carry
        the statistics of one group.
        """
        if self.spec.bn == "plain":
            return self.key(views)  # type: ignore[no-any-return]  # nn.Module.__call__ is Any
        order, back = drawn
        keys: Tensor = self.key(views[order])
        return keys[back]

    def _owners(self, rows: Tensor) -> Tensor | None:
        return rows if self.spec.mask_own_keys else None

    def after_step(self, outcome: Outcome) -> None:
        """The key tower follows, then the keys join the negatives.

        Both come after backward, so nothing that the gradient needs must be cloned.
        """
        with self.clock.phase("momentum"):
            follow(self.key, self.query, momentum=self.spec.momentum or 0.0)
        with self.clock.phase("enqueue"):
            self.negatives.push(outcome.keys, outcome.rows)

    def learning(self) -> dict[str, nn.Parameter]:
        """Everything in the query tower."""
        return {f"query.{name}": value for name, value in self.query.named_parameters()}

    def embed(self, views: Tensor, *, feature: Feature) -> Tensor:
        """[B, 3, S, S] to fp32 features [B, D], not normalised, with the query encoder."""
        return self.query.features(views, feature=feature)

    def negatives_for(self, rows: Tensor) -> Negatives:
        """The negatives as queries of `rows` see them now. Syncs with the device."""
        return Negatives(
            keys=self.negatives.keys,
            hidden=self.negatives.hidden_from(self._owners(rows)),
            counted=self.negatives.counted(),
            fill_ratio=int(self.negatives.fill) / self.negatives.capacity_rows,
            oldest_age_steps=self.negatives.oldest_age_steps(),
        )

    def key_distance_ratio(self) -> float:
        """|theta_q - theta_k| / |theta_q|. Syncs with the device."""
        return distance_ratio(self.key, self.query)


def build(spec: JobSpec, *, bf16: bool, accelerator: Accelerator | None) -> MoCo:
    """The method of a resolved spec, its weights drawn from the spec's seed."""
    splits = spec.method.bn_splits if spec.method.bn == "split" else 1
    with scoped_seed(derived_seed(spec.seed, "weights")):
        side_px = spec.views.side_px or 0
        encoder = build_encoder(
            spec.encoder, side_px=side_px, bn_splits=splits, accelerator=accelerator
        )
        order = spec.order or NEWEST_ORDER
        return MoCo(spec.method, encoder, seed=spec.seed, bf16=bf16, order=order)


def _order_and_back(total: int, *, seed: int, at: int, order: int) -> Tensor:
    """A permutation of `total` rows and its inverse, int64 [2, total]."""
    there = shuffled(torch.arange(total), total=total, seed=seed, epoch=at, order=order)
    return torch.stack([there, torch.empty_like(there).scatter_(0, there, torch.arange(total))])


def _head(spec: MoCoSpec, width: int) -> nn.Module:
    """Version 1: one layer. Version 2: width-ReLU-dim, without batch norm."""
    if spec.head == "linear":
        return nn.Linear(width, spec.dim)
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, spec.dim))

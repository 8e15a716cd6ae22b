"""The learning core by itself, fed by hand: a method in float64, its optimizer and its step."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.engine.step import EagerStep
from trainer.methods.moco.method import MoCo
from trainer.methods.moco.spec import ResolvedMoCoSpec
from trainer.modalities.image.encoders.small_convnet import MeanPool
from trainer.nn.split_batchnorm import SplitBatchNorm2d
from trainer.nn.views import Batch, Pixels
from trainer.optim.optimizer import make_optimizer
from trainer.optim.schedule import TrainingLength, lr_at
from trainer.optim.spec import ResolvedCosineSpec, ResolvedOptimSpec, ResolvedScheduleSpec
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed

SEED = 3


class TwoLayers(nn.Sequential):
    """An encoder with batch norm twice: enough for it to matter, and quick in float64."""

    feature_dim = 12

    def __init__(self, splits: int) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            SplitBatchNorm2d(8, splits=splits),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
            SplitBatchNorm2d(12, splits=splits),
            nn.ReLU(),
            MeanPool(),
            nn.Flatten(),
        )


class Step(NamedTuple):
    """Results of one step, before the weights moved."""

    loss: Tensor
    queries: Tensor
    keys: Tensor
    gradients: list[Tensor]
    """One for each parameter of the query tower, in its order."""


class Learner:
    """Our MoCo over `TwoLayers`, which takes steps of views [B, 3, S, S] in float64."""

    def __init__(
        self,
        spec: ResolvedMoCoSpec,
        optim: ResolvedOptimSpec,
        schedule: ResolvedScheduleSpec | None = None,
    ) -> None:
        torch.manual_seed(0)
        splits = spec.bn_splits if spec.bn == "split" else 1
        self.optim, self.schedule = optim, schedule or ResolvedCosineSpec(warmup_from=1)
        self.method = MoCo(spec, TwoLayers(splits), seed=SEED, bf16=False).double()
        optimizer = make_optimizer(optim, self.method.trainable_parameters())
        self._stepping = EagerStep(self.method, optimizer)

    def step(
        self, first: Tensor, second: Tensor, rows: Tensor, *, step: int, length: TrainingLength
    ) -> Step:
        """Take optimizer step `step`, counted from 0, of dataset rows [B]."""
        batch = Batch((Pixels(first), Pixels(second)), rows, identities=rows)
        outcome = self._stepping.gradient(batch, self.method.random_inputs(len(rows), step=step))
        gradients = [p.grad.clone() for p in self.query.parameters() if p.grad is not None]
        peak = self.optim.lr
        lr = lr_at(step, spec=self.schedule, peak=peak, length=length)
        self.method.set_progress(step / length.steps)
        self._stepping.update(outcome, lr=lr)
        return Step(outcome.loss, outcome.queries, outcome.keys, gradients)

    @property
    def query(self) -> nn.Module:
        """The query tower."""
        return self.method.query

    @property
    def key(self) -> nn.Module:
        """The key tower."""
        return self.method.key

    @property
    def queue(self) -> Tensor:
        """The negatives [K, D], in the order of their slots."""
        return self.method.negatives.keys

    @property
    def owners(self) -> Tensor:
        """The dataset row of each slot, int64 [K]; below 0 where a random vector is."""
        return self.method.negatives.rows


def key_order(rows: int, *, half: int, step: int) -> Tensor:
    """Return the order in which the key tower sees a batch, int64 [rows]: an input of a step."""
    seed = derived_seed(SEED, f"key order {half}")
    return permuted_rows(torch.arange(rows), total=rows, seed=seed, epoch=step)

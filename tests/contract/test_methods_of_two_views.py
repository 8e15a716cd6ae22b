"""BYOL, MoCo v3, NNCLR and VICReg beside their papers and LightlySSL's losses, in float64.

Each whole step is written out here: batch norm, heads, losses, SGD and the target's average.
"""

import copy
import math
from typing import Any, NamedTuple, cast

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, VICRegLoss
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.trainer.learner import TwoLayers
from trainer.engine.step import EagerStep
from trainer.methods.base import Method
from trainer.methods.byol.method import BYOL
from trainer.methods.byol.spec import ResolvedBYOLSpec
from trainer.methods.moco_v3.method import MoCoV3
from trainer.methods.moco_v3.spec import ResolvedMoCoV3Spec
from trainer.methods.nnclr.method import NNCLR
from trainer.methods.nnclr.spec import ResolvedNNCLRSpec
from trainer.methods.vicreg.method import VICReg
from trainer.methods.vicreg.spec import ResolvedVICRegSpec
from trainer.nn.split_batchnorm import SplitBatchNorm1d, SplitBatchNorm2d
from trainer.nn.views import Batch, Pixels
from trainer.optim.optimizer import make_optimizer
from trainer.optim.spec import ResolvedSgdSpec

STEPS, BATCH, DIM, QUEUE = 6, 10, 6, 24
LR, M, T = 0.05, 0.9, 0.3
HEADS = {"head_hidden": 14, "dim": DIM}
PREDICTOR = HEADS | {"predictor_hidden": 16}
TOLERANCE = 1e-10


def in_torch(module: nn.Module) -> nn.Module:
    """The same weights with torch's batch norm."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SplitBatchNorm2d):
                is_flat = isinstance(child, SplitBatchNorm1d)
                has_scale = isinstance(child.weight, nn.Parameter)
                kind = nn.BatchNorm1d if is_flat else nn.BatchNorm2d
                norm = kind(child.num_features, affine=has_scale).double()
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)
    return module


class Theirs(NamedTuple):
    """Networks with torch's layers, as the papers name them."""

    online: nn.Sequential
    predictor: nn.Module
    target: nn.Sequential

    @classmethod
    def like(cls, tower: Any) -> "Theirs":  # noqa: ANN401
        """Copy the weights of a tower, with or without a predictor."""
        online = nn.Sequential(in_torch(tower.encoder), in_torch(tower.head))
        predictor = in_torch(getattr(tower, "predictor", nn.Identity()))
        return cls(online, predictor, copy.deepcopy(online))

    def learning(self) -> list[nn.Parameter]:
        """Return what the optimizer moves."""
        return [*self.online.parameters(), *self.predictor.parameters()]


def near(ours: Tensor, theirs: Tensor) -> None:
    atol = TOLERANCE * max(1.0, float(theirs.detach().abs().max()))
    torch.testing.assert_close(ours, theirs.detach(), rtol=0.0, atol=atol)


class Beside:
    """One method and its paper, which take the same steps."""

    def __init__(self, method: Method, tower: Any) -> None:  # noqa: ANN401
        self.method, self.tower = method, tower
        self.theirs = Theirs.like(tower)
        sgd = ResolvedSgdSpec(lr=LR, momentum=0.9, weight_decay=1e-4)
        optimizer = make_optimizer(sgd, method.trainable_parameters())
        self._executor = EagerStep(method, optimizer)
        self._sgd = torch.optim.SGD(self.theirs.learning(), LR, momentum=0.9, weight_decay=1e-4)
        self._draw = torch.Generator().manual_seed(2)

    def views(self) -> tuple[Tensor, Tensor]:
        shape = (BATCH, 3, 8, 8)
        first, second = (
            torch.randn(shape, dtype=torch.float64, generator=self._draw) for _ in "12"
        )
        return first, second

    def step(self, first: Tensor, second: Tensor, loss: Tensor, *, step: int) -> Any:  # noqa: ANN401
        """Take a step on both sides and compare losses and weights."""
        rows = torch.arange(BATCH) + BATCH * step
        batch = Batch((Pixels(first), Pixels(second)), rows, rows)
        output = self._executor.gradient(batch, Tensor())
        near(output.loss, loss)
        self.method.set_progress(step / STEPS)
        self._executor.update(output, lr=LR)
        self._sgd.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        self._sgd.step()
        ours = [*self.tower.parameters()]
        assert len(ours) == len(self.theirs.learning())
        for mine, wanted in zip(ours, self.theirs.learning(), strict=True):
            near(mine.detach(), wanted)
        return output

    @torch.no_grad()
    def move_target(self, key: nn.Module, *, step: int) -> None:
        """Move their target by 1 - (1 - m) (cos(pi k / K) + 1) / 2, and compare it with ours."""
        tau = 1 - (1 - M) * (math.cos(math.pi * step / STEPS) + 1) / 2
        for slow, fast in zip(
            self.theirs.target.parameters(), self.theirs.online.parameters(), strict=True
        ):
            slow.copy_(tau * slow + (1 - tau) * fast)
        for mine, wanted in zip(key.parameters(), self.theirs.target.parameters(), strict=True):
            near(mine.detach(), wanted)


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return TwoLayers(1)


def test_byol_is_its_paper() -> None:
    """Half of eq. 2 for both orders; the target has batch statistics of its own."""
    spec = ResolvedBYOLSpec.model_validate(PREDICTOR | {"momentum": M})
    method = BYOL(spec, encoder(), bf16=False).double()
    beside = Beside(method, method.query)
    q, f, target = beside.theirs.predictor, beside.theirs.online, beside.theirs.target
    cosine = NegativeCosineSimilarity()
    for step in range(STEPS):
        first, second = beside.views()
        with torch.no_grad():
            z_first, z_second = target(first), target(second)
        p_first, p_second = q(f(first)), q(f(second))
        loss = sum(
            (F.normalize(p, dim=1) - F.normalize(z, dim=1)).square().sum(1).mean() / 2
            for p, z in ((p_first, z_second), (p_second, z_first))
        )
        of_lightly = 2.0 + cosine(p_first, z_second) + cosine(p_second, z_first)
        near(cast(Tensor, loss), of_lightly)
        beside.step(first, second, cast(Tensor, loss), step=step)
        beside.move_target(method.key, step=step)


@pytest.mark.parametrize("queue_rows", [0, QUEUE])
def test_moco_v3_is_its_paper(queue_rows: int) -> None:
    """Algorithm 1: 2 T cross-entropy over the batch's keys; with a queue over its keys too."""
    more = {"momentum": M, "temperature": T, "head_layers": 2, "predictor_batch_norm": "hidden"}
    spec = ResolvedMoCoV3Spec.model_validate(PREDICTOR | more | {"queue_rows": queue_rows})
    method = MoCoV3(spec, encoder(), seed=0, bf16=False).double()
    beside = Beside(method, method.query)
    q, f, target = beside.theirs.predictor, beside.theirs.online, beside.theirs.target
    queue: list[Tensor] = []
    for step in range(STEPS):
        first, second = beside.views()
        with torch.no_grad():
            keys = [F.normalize(target(view), dim=1) for view in (first, second)]
        loss = torch.zeros((), dtype=torch.float64)
        for view, key in ((first, keys[1]), (second, keys[0])):
            queries = F.normalize(q(f(view)), dim=1)
            logits = queries @ torch.cat([key, *queue]).T / T
            loss = loss + 2 * T * nn.functional.cross_entropy(logits, torch.arange(BATCH))
        beside.step(first, second, loss, step=step)
        beside.move_target(method.key, step=step)
        if queue_rows:
            newest = torch.cat([*queue, keys[1], keys[0]])[-queue_rows:]
            queue = [newest]


def test_nnclr_is_its_paper() -> None:
    """Eq. 3, the mean of both orders; neighbors by a loop, from projections with gradient."""
    spec = ResolvedNNCLRSpec.model_validate(PREDICTOR | {"temperature": T, "queue_rows": QUEUE})
    method = NNCLR(spec, encoder(), seed=0, bf16=False).double()
    beside = Beside(method, method.tower)
    q, f = beside.theirs.predictor, beside.theirs.online
    support = [*method.support.keys.clone()]
    pointer = 0
    for step in range(STEPS):
        first, second = beside.views()
        projections = [F.normalize(f(view), dim=1) for view in (first, second)]
        predictions = [F.normalize(q(f(view)), dim=1) for view in (first, second)]
        loss = torch.zeros((), dtype=torch.float64)
        for z, p in ((projections[0], predictions[1]), (projections[1], predictions[0])):
            for row in range(BATCH):
                nearest = max(support, key=lambda s: float(s @ z[row].detach()))
                total = torch.stack([torch.exp(nearest @ other / T) for other in p]).sum()
                loss = loss - (nearest @ p[row] / T - total.log()) / (2 * BATCH)
        beside.step(first, second, loss, step=step)
        for z in projections[0].detach():
            support[pointer], pointer = z, (pointer + 1) % QUEUE
        near(method.support.keys, torch.stack(support))


def test_vicreg_is_its_paper() -> None:
    """Terms by numpy's covariance; LightlySSL halves the variance, so its weight is doubled."""
    spec = ResolvedVICRegSpec.model_validate(HEADS)
    method = VICReg(spec, encoder(), bf16=False).double()
    beside = Beside(method, method.tower)
    their_loss_of = VICRegLoss(lambda_param=25.0, mu_param=50.0, nu_param=1.0)
    for step in range(STEPS):
        first, second = beside.views()
        z_first, z_second = beside.theirs.online(first), beside.theirs.online(second)
        loss = 25 * (z_first - z_second).square().sum() / (BATCH * DIM)
        for z in (z_first, z_second):
            covariance = torch.cov(z.T)
            std = torch.sqrt(covariance.diagonal() + 1e-4)
            loss = loss + 25 * torch.clamp(1 - std, min=0).sum() / DIM
            rest = covariance - torch.diag(covariance.diagonal())
            loss = loss + rest.square().sum() / DIM
        near(loss, their_loss_of(z_first, z_second))
        beside.step(first, second, loss, step=step)

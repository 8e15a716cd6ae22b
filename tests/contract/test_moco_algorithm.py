"""Our MoCo beside the authors' algorithm, in float64, for 30 steps.

Written from the papers and from how the authors' code behaves. Their order differs from ours: the
key encoder moves at the start of a step and keys are queued before the gradient is taken.
"""

import copy
import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from tests.support.trainer.learner import Learner, key_order
from trainer.methods.moco.spec import ResolvedMoCoSpec
from trainer.nn.split_batchnorm import SplitBatchNorm2d
from trainer.nn.views import Pixels
from trainer.optim.schedule import TrainingLength
from trainer.optim.spec import (
    ResolvedAdamWSpec,
    ResolvedCosineSpec,
    ResolvedSgdSpec,
    ResolvedStepsSpec,
)

EPOCHS, STEPS_PER_EPOCH = 6, 5
STEPS, BATCH, DIM, GROUPS = EPOCHS * STEPS_PER_EPOCH, 16, 8, 4
LR, BETA, DECAY, M, T = 0.05, 0.9, 1e-4, 0.99, 0.2
ADAM_LR, ADAM_DECAY, BETA_1, BETA_2, ADAM_EPS = 0.003, 0.05, 0.9, 0.999, 1e-8
FALLS, FACTOR = (2, 4), 0.1
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Case:
    """Settings that vary between cases."""

    head: str = "mlp"
    bn: str = "split"
    masked: bool = True
    symmetric: bool = True
    queue_rows: int = 40
    """64 is divided by every batch, as the authors' code demands; 40 is not."""
    optim: str = "sgd"
    schedule: str = "cosine"
    momentum: str = "constant"

    def __str__(self) -> str:
        words = [self.head, self.bn, str(self.queue_rows), self.optim, self.schedule]
        words += ["masked"] * self.masked + ["symmetric"] * self.symmetric
        words += ["momentum"] * (self.momentum == "cosine")
        return "-".join(words)

    @property
    def groups(self) -> int:
        return GROUPS if self.bn == "split" else 1

    def learner(self) -> Learner:
        spec = ResolvedMoCoSpec.model_validate(
            {
                "queue_rows": self.queue_rows,
                "momentum": M,
                "momentum_schedule": self.momentum,
                "temperature": T,
                "dim": DIM,
                "head": self.head,
                "symmetric": self.symmetric,
                "bn": self.bn,
                "bn_splits": self.groups,
                "mask_own_keys": self.masked,
            }
        )
        sgd = ResolvedSgdSpec(
            lr=LR, momentum=BETA, weight_decay=DECAY, nesterov=self.optim == "nesterov"
        )
        adamw = ResolvedAdamWSpec(lr=ADAM_LR, beta1=BETA_1, beta2=BETA_2, weight_decay=ADAM_DECAY)
        steps = ResolvedStepsSpec(epochs=FALLS, factor=FACTOR, warmup_from=1)
        return Learner(
            spec,
            adamw if self.optim == "adamw" else sgd,
            steps if self.schedule == "steps" else ResolvedCosineSpec(warmup_from=1),
        )


class GroupNorms(nn.BatchNorm2d):
    """Each of `groups` runs of rows through batch norm on its own, by its definition."""

    groups = 1

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for part in x.chunk(self.groups):
            mean = part.mean((0, 2, 3), keepdim=True)
            variance = part.var((0, 2, 3), correction=0, keepdim=True)
            normed = (part - mean) / torch.sqrt(variance + self.eps)
            parts.append(normed * self.weight[:, None, None] + self.bias[:, None, None])
        return torch.cat(parts)


def plainly(tower: nn.Module, *, groups: int) -> nn.Module:
    """The same weights with the test's own batch norm."""
    tower = copy.deepcopy(tower)
    for module in tower.modules():
        if isinstance(module, SplitBatchNorm2d):
            module.__class__ = GroupNorms  # type: ignore[assignment]  # the same weights
            vars(module)["groups"] = groups
    return tower


@dataclass
class Moments:
    """The state of an optimizer for one parameter."""

    first: Tensor
    second: Tensor
    count: int = 0

    def sgd(self, p: Tensor, gradient: Tensor, lr: float, *, nesterov: bool) -> None:
        gradient = gradient + DECAY * p
        self.first = BETA * self.first + gradient
        p -= lr * (gradient + BETA * self.first if nesterov else self.first)

    def adamw(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        """Algorithm 2 of arXiv:1711.05101."""
        self.count += 1
        self.first = BETA_1 * self.first + (1 - BETA_1) * gradient
        self.second = BETA_2 * self.second + (1 - BETA_2) * gradient**2
        mean = self.first / (1 - BETA_1**self.count)
        square = self.second / (1 - BETA_2**self.count)
        p -= lr * (mean / (square.sqrt() + ADAM_EPS) + ADAM_DECAY * p)


@dataclass
class Authors:
    """The authors' algorithm: two encoders, a ring of keys, cross-entropy over cat logits."""

    case: Case
    f_q: nn.Module
    f_k: nn.Module
    queue: Tensor
    owners: list[int]
    pointer: int = 0
    moments: list[Moments] = field(default_factory=list)

    @classmethod
    def like(cls, case: Case, learner: Learner) -> "Authors":
        """Start from the state of `learner`."""
        f_q, f_k = (plainly(t, groups=case.groups) for t in (learner.query, learner.key))
        authors = cls(case, f_q, f_k, learner.queue.clone(), learner.owners.tolist())
        zeros = [torch.zeros_like(p) for p in f_q.parameters()]
        authors.moments = [Moments(zero, zero) for zero in zeros]
        return authors

    def forward(
        self, first: Tensor, second: Tensor, rows: Tensor, *, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, the queries and the keys of a step; moves the key encoder and the ring."""
        self.move_key_encoder(step - 1)  # after the update of the step before
        q, k, loss = self.contrast(first, second, rows, half=0, step=step)
        owners = rows.tolist()
        if self.case.symmetric:  # as in the authors' notebook: both losses, keys of both views
            other_q, other_k, other_loss = self.contrast(second, first, rows, half=1, step=step)
            q, k, loss = torch.cat([other_q, q]), torch.cat([other_k, k]), loss + other_loss
            owners = owners * 2
        self.enqueue(k, owners)
        return loss, q.detach(), k

    def contrast(
        self, im_q: Tensor, im_k: Tensor, rows: Tensor, *, half: int, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k = self.f_q(Pixels(im_q)), self.keys(im_k, half=half, step=step)
        l_pos = torch.stack([a @ b for a, b in zip(q, k, strict=True)])[:, None]
        l_neg = q @ self.queue.clone().T
        if self.case.masked:
            own = torch.tensor([[owner == row for owner in self.owners] for row in rows.tolist()])
            l_neg = l_neg.masked_fill(own, -torch.inf)
        logits = torch.cat([l_pos, l_neg], dim=1) / T
        return q, k, nn.CrossEntropyLoss()(logits, torch.zeros(len(q), dtype=torch.long))

    @torch.no_grad()
    def keys(self, im_k: Tensor, *, half: int, step: int) -> Tensor:
        """Keys, shuffled before and put back after as in section 3.3."""
        if self.case.bn == "plain":
            return self.f_k(Pixels(im_k))  # type: ignore[no-any-return]  # nn.Module.__call__ is Any
        order = key_order(len(im_k), half=half, step=step)
        shuffled = self.f_k(Pixels(im_k[order]))
        return torch.stack([shuffled[order.tolist().index(row)] for row in range(len(im_k))])

    @torch.no_grad()
    def enqueue(self, keys: Tensor, owners: list[int]) -> None:
        for key, owner in zip(keys, owners, strict=True):
            self.queue[self.pointer], self.owners[self.pointer] = key, owner
            self.pointer = (self.pointer + 1) % len(self.queue)

    @torch.no_grad()
    def move_key_encoder(self, step: int) -> None:
        """Move by m, or on a cosine from m to 1: 1 - (1 - m) (1 + cos(pi e / E)) / 2."""
        m = M
        if self.case.momentum == "cosine":
            m = 1 - (1 - M) * (1 + math.cos(math.pi * step / STEPS)) / 2
        for p_k, p_q in zip(self.f_k.parameters(), self.f_q.parameters(), strict=True):
            p_k.copy_(m * p_k + (1 - m) * p_q)

    @torch.no_grad()
    def update(self, gradients: list[Tensor], *, epoch: int) -> None:
        lr = self.lr(epoch)
        for p, gradient, moments in zip(
            self.f_q.parameters(), gradients, self.moments, strict=True
        ):
            if self.case.optim == "adamw":
                moments.adamw(p, gradient, lr)
            else:
                moments.sgd(p, gradient, lr, nesterov=self.case.optim == "nesterov")

    def lr(self, epoch: int) -> float:
        """Return the rate: half a cosine over whole epochs, or a tenth at each milestone."""
        lr = ADAM_LR if self.case.optim == "adamw" else LR
        if self.case.schedule == "cosine":
            return lr * 0.5 * (1.0 + math.cos(math.pi * epoch / EPOCHS))
        for milestone in FALLS:
            lr *= FACTOR if epoch >= milestone else 1.0
        return lr


def near(ours: Tensor, theirs: Tensor) -> bool:
    """Return whether two tensors are equal to 1e-10 of the largest value."""
    return bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())


def all_near(ours: nn.Module, theirs: nn.Module) -> bool:
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return all(near(a.detach(), b.detach()) for a, b in pairs)


CASES = [
    Case(head, bn, masked=masked, symmetric=symmetric, queue_rows=40 if masked else 64)
    for head in ("linear", "mlp")
    for bn in ("plain", "split")
    for masked in (False, True)
    for symmetric in (False, True)
]
CASES += [
    Case(optim=optim, schedule=schedule)
    for optim in ("sgd", "nesterov", "adamw")
    for schedule in ("cosine", "steps")
    if (optim, schedule) != ("sgd", "cosine")
]
CASES += [Case(momentum="cosine")]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_thirty_steps_equal_the_authors(case: Case) -> None:
    """Loss, queries, keys, gradients, both encoders and the ring, at every step."""
    learner = case.learner()
    authors = Authors.like(case, learner)
    draw = torch.Generator().manual_seed(1)
    length = TrainingLength(EPOCHS, STEPS_PER_EPOCH)
    for step in range(STEPS):
        first, second = torch.randn(2, BATCH, 3, 8, 8, dtype=torch.float64, generator=draw)
        rows = torch.randperm(30, generator=draw)[:BATCH]
        loss, queries, keys = authors.forward(first, second, rows, step=step)
        assert all_near(learner.key, authors.f_k)
        ours = learner.step(first, second, rows, step=step, length=length)
        assert near(ours.loss, loss.detach())
        assert near(ours.queries, queries)
        assert near(ours.keys, keys)
        gradients = list(torch.autograd.grad(loss, list(authors.f_q.parameters())))
        assert all(map(near, ours.gradients, gradients))
        authors.update(gradients, epoch=step // STEPS_PER_EPOCH)
        assert all_near(learner.query, authors.f_q)
        assert near(learner.queue, authors.queue)
        assert learner.owners.tolist() == authors.owners
    authors.move_key_encoder(STEPS - 1)
    assert all_near(learner.key, authors.f_k)

"""Our method beside a plain reading of Algorithm 1 of the paper, in float64, for 20 steps."""

import copy

import pytest
import torch
from torch import Tensor, nn

from trainer.batchnorm.split import SplitBatchNorm2d
from trainer.encoders.small import MeanPool
from trainer.methods.moco.method import MoCo
from trainer.methods.moco.spec import MoCoSpec
from trainer.optim import make_optimizer, set_lr
from trainer.optim_spec import SgdSpec
from trainer.randomness import shuffled
from trainer.seeds import derived_seed

STEPS, BATCH, K, DIM, SEED = 20, 16, 40, 8, 3
LR, BETA, DECAY, M, T = 0.05, 0.9, 1e-4, 0.99, 0.2
TOLERANCE = 1e-10


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


class Paper:
    """Algorithm 1: f_q, f_k, the queue as a list of keys with the rows that they came from."""

    def __init__(self, method: MoCo, *, groups: int, masked: bool, symmetric: bool) -> None:
        self.f_q, self.f_k = (plainly(t, groups=groups) for t in (method.query, method.key))
        self.queue = list(method.negatives.keys.clone())
        self.owners = method.negatives.rows.tolist()
        self.speed = [torch.zeros_like(p) for p in self.f_q.parameters()]
        self.shuffle, self.masked, self.symmetric = groups > 1, masked, symmetric

    def keys(self, x_k: Tensor, *, half: int, step: int) -> Tensor:
        """k = f_k.forward(x_k), without gradient; shuffled for batch norm as in section 3.3."""
        with torch.no_grad():
            if not self.shuffle:
                return self.f_k(x_k)  # type: ignore[no-any-return]
            places = torch.arange(len(x_k))
            seed = derived_seed(SEED, f"key order {half}")
            order = shuffled(places, total=len(x_k), seed=seed, epoch=step)
            keys = self.f_k(x_k[order])
            return torch.stack([keys[order.tolist().index(row)] for row in places.tolist()])

    def contrast(self, q: Tensor, k: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """logits = cat([l_pos, l_neg], dim=1); loss = CrossEntropyLoss(logits / t, zeros)."""
        l_pos = torch.stack([a @ b for a, b in zip(q, k, strict=True)])[:, None]
        l_neg = q @ torch.stack(self.queue).T
        if self.masked:
            own = torch.tensor([[owner == row for owner in self.owners] for row in rows.tolist()])
            l_neg = l_neg.masked_fill(own, -torch.inf)
        logits = torch.cat([l_pos, l_neg], dim=1) / T
        return nn.CrossEntropyLoss()(logits, torch.zeros(len(q), dtype=torch.long)), logits

    def step(self, first: Tensor, second: Tensor, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        q, k = self.f_q(first), self.keys(second, half=0, step=step)
        loss, logits = self.contrast(q, k, rows)
        keys, owners = k, rows.tolist()
        if self.symmetric:
            q_2, k_2 = self.f_q(second), self.keys(first, half=1, step=step)
            loss_2, logits_2 = self.contrast(q_2, k_2, rows)
            loss, logits = loss + loss_2, torch.cat([logits_2, logits])
            keys, owners = torch.cat([k_2, k]), owners * 2
        self.f_q.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for p, v in zip(self.f_q.parameters(), self.speed, strict=True):  # update(f_q.params)
                assert p.grad is not None
                v.copy_(BETA * v + p.grad + DECAY * p)
                p.copy_(p - LR / (1 + step) * v)
            for p_k, p_q in zip(self.f_k.parameters(), self.f_q.parameters(), strict=True):
                p_k.copy_(M * p_k + (1 - M) * p_q)  # momentum update
        self.queue = (self.queue + list(keys))[-K:]  # enqueue, dequeue
        self.owners = (self.owners + owners)[-K:]
        return loss.detach(), logits.detach()


def near(found: Tensor, expected: Tensor) -> bool:
    """Relative to the largest value; -inf against -inf is equal."""
    found, expected = found.clamp(min=-1e3), expected.clamp(min=-1e3)
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("bn", ["plain", "split"])
@pytest.mark.parametrize(("masked", "symmetric"), [(False, False), (True, False), (True, True)])
def test_twenty_steps_equal_the_papers(head: str, bn: str, masked: bool, symmetric: bool) -> None:
    """Loss, logits, gradients, both encoders and the negatives, after every step."""
    groups = 4 if bn == "split" else 1
    spec = MoCoSpec.model_validate(
        {
            "queue_rows": K,
            "momentum": M,
            "temperature": T,
            "dim": DIM,
            "head": head,
            "symmetric": symmetric,
            "bn": bn,
            "bn_splits": groups,
            "mask_own_keys": masked,
        }
    )
    torch.manual_seed(0)
    method = MoCo(spec, TwoLayers(groups), seed=SEED, bf16=False).double()
    paper = Paper(method, groups=groups, masked=masked, symmetric=symmetric)
    sgd = SgdSpec(lr=LR, momentum=BETA, weight_decay=DECAY)
    optimizer = make_optimizer(sgd, method.learning().values())
    for step in range(STEPS):
        first, second = torch.randn(2, BATCH, 3, 8, 8, dtype=torch.float64)
        rows = torch.randperm(30)[:BATCH]
        negatives, owners = method.negatives.keys.clone(), method.negatives.rows.clone()
        pointer = int(method.negatives.pointer)
        outcome = method.loss(first, second, rows, step=step)
        optimizer.zero_grad()
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        gradients = [value.grad for value in method.query.parameters()]
        set_lr(optimizer, LR / (1 + step))
        optimizer.step()
        method.after_step(outcome)

        loss, logits = paper.step(first, second, rows, step)
        assert near(outcome.loss.detach(), loss)
        similarity = (outcome.queries @ negatives.T).detach() / T
        if masked:
            own = outcome.rows[:, None] == owners[None]
            similarity = similarity.masked_fill(own, -torch.inf)
        positive = (outcome.queries * outcome.keys).sum(1, keepdim=True).detach() / T
        rolled = torch.cat([positive, similarity.roll(-pointer, 1)], 1)
        assert near(rolled, logits)
        for gradient, p in zip(gradients, paper.f_q.parameters(), strict=True):
            assert gradient is not None
            assert p.grad is not None
            assert near(gradient, p.grad)
        for ours, theirs in ((method.query, paper.f_q), (method.key, paper.f_k)):
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
                assert near(a.detach(), b.detach())
        pointer = int(method.negatives.pointer)
        assert near(method.negatives.keys.roll(-pointer, 0), torch.stack(paper.queue))
        assert method.negatives.rows.roll(-pointer).tolist() == paper.owners

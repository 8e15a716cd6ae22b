"""Adam against torch's plain one; which parameters decay; the norm that gradients are cut to."""

import math

import pytest
import torch
from torch import nn

from trainer.optim.optimizer import clip_gradients, make_optimizer, set_lr
from trainer.optim.spec import (
    ResolvedAdamSpec,
    ResolvedAdamWSpec,
    ResolvedLarsSpec,
    ResolvedOptimSpec,
    ResolvedSgdSpec,
)

MATRICES = {"conv.weight", "head.weight"}
SPECS: tuple[ResolvedOptimSpec, ...] = (
    ResolvedSgdSpec(lr=0.1, weight_decay=0.5, decay="matrices"),
    ResolvedAdamWSpec(lr=0.1, weight_decay=0.5, decay="matrices"),
    ResolvedAdamSpec(lr=0.1, weight_decay=0.5, decay="matrices"),
    ResolvedLarsSpec(lr=0.1, weight_decay=0.5),
)


class Network(nn.Module):
    """One parameter of each kind: kernel, matrix, biases, norm, position, class token, scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.pos_embed = nn.Parameter(torch.ones(1, 5, 4))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))
        self.log_temperature = nn.Parameter(torch.tensor(1.0))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_only_matrices_decay(spec: ResolvedOptimSpec) -> None:
    """Without a gradient nothing but decay moves a parameter."""
    torch.manual_seed(1)
    network = Network()
    parameters = dict(network.named_parameters())
    before = {name: value.detach().clone() for name, value in parameters.items()}
    for value in parameters.values():
        value.grad = torch.zeros_like(value)
    make_optimizer(spec, parameters).step()
    moved = {name for name, value in parameters.items() if not value.equal(before[name])}
    assert moved == MATRICES


def test_all_parameters_but_scalars_decay_unless_asked_otherwise() -> None:
    network = Network()
    parameters = dict(network.named_parameters())
    spec = ResolvedSgdSpec(lr=0.1, weight_decay=0.5)
    group, scalars = make_optimizer(spec, parameters).param_groups
    assert len(group["params"]) == len(parameters) - 1
    assert (scalars["params"], scalars["weight_decay"]) == ([network.log_temperature], 0.0)
    del parameters["log_temperature"]
    assert len(make_optimizer(spec, parameters).param_groups) == 1


def test_every_group_takes_the_rate_of_the_step() -> None:
    optimizer = make_optimizer(SPECS[0], dict(Network().named_parameters()))
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_twenty_steps_of_adam_are_torchs() -> None:
    torch.manual_seed(2)
    ours, theirs = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    theirs.load_state_dict(ours.state_dict())
    spec = ResolvedAdamSpec(lr=0.01, beta1=0.8, beta2=0.95, weight_decay=0.1)
    optimizer = make_optimizer(spec, dict(ours.named_parameters()))
    plain = torch.optim.Adam(
        theirs.parameters(), 0.01, (0.8, 0.95), weight_decay=0.1, foreach=False, fused=False
    )
    for step in range(20):
        set_lr(optimizer, 0.01 / (step + 1))
        set_lr(plain, 0.01 / (step + 1))
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        optimizer.step()
        plain.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(("largest", "share"), [(1.0, 1.0 / 13.0), (13.0, 1.0), (20.0, 1.0)])
def test_gradients_are_cut_to_their_norm_together(largest: float, share: float) -> None:
    """|(3, 4), 12| = 13: one scale for all, and none below the limit."""
    parameters = {"a": nn.Parameter(torch.zeros(1, 2)), "b": nn.Parameter(torch.zeros(()))}
    optimizer = make_optimizer(SPECS[0], parameters)
    parameters["a"].grad = torch.tensor([[3.0, 4.0]])
    parameters["b"].grad = torch.tensor(12.0)
    clip_gradients(optimizer, largest)
    gradients = [value.grad for value in parameters.values() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    assert flat.tolist() == pytest.approx([3 * share, 4 * share, 12 * share], rel=1e-6)
    assert math.isclose(float(flat.norm()), min(13.0, largest), rel_tol=1e-6)

"""LARS against its formulas in numpy, over twenty steps whose rate changes."""

from typing import Literal, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.optim.optimizer import make_optimizer, set_lr
from trainer.optim.spec import ResolvedLarsSpec

Array = NDArray[np.float64]
STEPS, TRUST, MOMENTUM, DECAY = 20, 0.02, 0.9, 0.05
SHAPES = {"weight": (4, 3), "kernel": (2, 3, 2, 2), "bias": (5,), "scale": (), "zero": (3, 2)}


class Form(NamedTuple):
    """A published form of the rule."""

    norm: Literal["joined", "sum"]
    clip: bool = False
    exclude_1d: bool = True
    decay: Literal["all", "matrices"] = "matrices"


FORMS = (
    Form("joined"),
    Form("sum"),
    Form("sum", clip=True),
    Form("joined", clip=True),
    Form("joined", exclude_1d=False, decay="all"),
    Form("sum", exclude_1d=False, decay="all"),
)


def step_of(p: Array, g: Array, *, lr: float, form: Form) -> Array:
    """SimCLR, MoCo v3 and BYOL: eta |p| / |g + wd p|. solo-learn: eta |p| / (|g| + wd |p| + eps).

    Parameters of one dimension: the plain gradient, and decay where all decay. A scalar, such as a
    learned temperature, never decays.
    """
    decay = DECAY if p.ndim > (0 if form.decay == "all" else 1) else 0.0
    decayed = g + decay * p
    if form.exclude_1d and p.ndim <= 1:
        return decayed
    weight = float(np.sqrt((p**2).sum()))
    if form.norm == "joined":
        length = float(np.sqrt((decayed**2).sum()))
        scale = TRUST * weight / length if weight > 0 and length > 0 else 1.0
    else:
        length = float(np.sqrt((g**2).sum()))
        if weight == 0 or length == 0:
            return g
        scale = TRUST * weight / (length + decay * weight + 1e-8)
    if form.clip and weight > 0 and length > 0:
        scale = min(scale / lr, 1.0)
    return scale * decayed


@pytest.mark.parametrize("form", FORMS)
def test_twenty_steps_are_those_of_the_formula(form: Form) -> None:
    draws = np.random.default_rng(3)
    weights = {name: np.asarray(draws.normal(size=shape)) for name, shape in SHAPES.items()}
    weights["zero"] = np.zeros(SHAPES["zero"])
    speeds = {name: np.zeros_like(value) for name, value in weights.items()}
    ours = {name: nn.Parameter(torch.tensor(value)) for name, value in weights.items()}
    spec = ResolvedLarsSpec(
        lr=1.0, momentum=MOMENTUM, weight_decay=DECAY, trust=TRUST, **form._asdict()
    )
    optimizer = make_optimizer(spec, ours)
    for step in range(STEPS):
        lr = 0.5 / (1 + step)
        set_lr(optimizer, lr)
        for name, p in weights.items():
            g = np.asarray(draws.normal(size=p.shape)) * (0.0 if step == 7 else 0.3)
            ours[name].grad = torch.tensor(g)
            speeds[name] = MOMENTUM * speeds[name] + step_of(p, g, lr=lr, form=form)
            weights[name] = p - lr * speeds[name]
        optimizer.step()
    for name, value in weights.items():
        np.testing.assert_allclose(ours[name].detach().numpy(), value, rtol=1e-12, atol=1e-14)


def test_a_rate_of_0_moves_nothing_and_keeps_the_state_finite() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    parameter.grad = torch.ones(2, 2)
    spec = ResolvedLarsSpec(lr=1.0, weight_decay=0.1, norm="sum", clip=True)
    optimizer = make_optimizer(spec, {"weight": parameter})
    set_lr(optimizer, 0.0)
    optimizer.step()
    assert parameter.equal(torch.ones(2, 2))
    assert optimizer.state[parameter]["momentum_buffer"].isfinite().all()

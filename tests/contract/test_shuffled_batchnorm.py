"""One process with split batch norm beside two ranks with shuffled batch norm, in float64."""

from pathlib import Path

import torch
from torch import Tensor

from tests.support.trainer.gloo_ranks import (
    DECAY,
    DIM,
    LR,
    MOMENTUM,
    RANK_ROWS,
    RANKS,
    STEPS,
    K,
    M,
    T,
    train_ranks,
)
from tests.support.trainer.learner import Learner, Step, key_order
from trainer.methods.moco.spec import ResolvedMoCoSpec
from trainer.optim.schedule import TrainingLength
from trainer.optim.spec import ResolvedConstantSpec, ResolvedSgdSpec

BATCH = RANKS * RANK_ROWS
TOLERANCE = 1e-10


def learner() -> Learner:
    spec = ResolvedMoCoSpec(
        queue_rows=K,
        momentum=M,
        temperature=T,
        dim=DIM,
        head="mlp",
        bn="split",
        bn_splits=RANKS,
        mask_own_keys=False,
    )
    sgd = ResolvedSgdSpec(lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    return Learner(spec, sgd, ResolvedConstantSpec(warmup_from=1))


def near(ours: Tensor, theirs: Tensor) -> None:
    atol = TOLERANCE * float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=atol)


def test_groups_of_rows_are_ranks(tmp_path: Path) -> None:
    """Twelve steps: losses, embeddings and gradients of each, then weights, queue, statistics.

    A rank's loss is the mean over its own rows and gradients are averaged over ranks, so ours are
    the means over ranks. So are running statistics, which move linearly.
    """
    ours = learner()
    draw = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, STEPS, BATCH, 3, 8, 8, dtype=torch.float64, generator=draw)
    order = torch.stack([key_order(BATCH, half=0, step=step) for step in range(STEPS)])
    inputs = {"first": first, "second": second, "order": order, "queue": ours.queue.clone()}
    inputs |= {f"tower.{name}": v.clone() for name, v in ours.query.state_dict().items()}
    ranks = train_ranks(tmp_path, inputs)

    length = TrainingLength(epochs=1, steps_per_epoch=STEPS)
    taken = [
        ours.step(first[step], second[step], torch.arange(BATCH), step=step, length=length)
        for step in range(STEPS)
    ]
    check_steps(taken, ranks)
    near(ours.queue, ranks[0]["queue"])
    for tower, module in (("query", ours.query), ("key", ours.key)):
        for name, value in module.state_dict().items():
            theirs = torch.stack([rank[f"{tower}.{name}"] for rank in ranks]).double()
            if "running" not in name:
                near(theirs[1], theirs[0])
            near(value.double(), theirs.mean(0))


def check_steps(taken: list[Step], ranks: list[dict[str, Tensor]]) -> None:
    assert len({float(step.loss) for step in taken}) == STEPS
    for number, step in enumerate(taken):
        near(step.loss, torch.stack([rank["loss"][number] for rank in ranks]).mean())
        near(step.queries, torch.cat([rank["queries"][number] for rank in ranks]))
        near(step.keys, torch.cat([rank["keys"][number] for rank in ranks]))
        gradient = torch.cat([each.flatten() for each in step.gradients])
        for rank in ranks:
            near(gradient, rank["gradient"][number])

"""Checks that each of two ranks makes of its world; a failed one ends the rank with exit code 1."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from trainer.distributed.launched_world import joined
from trainer.distributed.process_group import ProcessGroup
from trainer.engine.build import RunPaths, build_run
from trainer.engine.train import DeviceConfig
from trainer.nn.split_batchnorm import SplitBatchNorm2d
from trainer.schema.errors import DivergedRanks
from trainer.spec.job import JobSpec

ROWS, WIDTH = 8, 3


def check_collectives() -> int:
    """Check each collective against what the whole batch on one process gives."""
    with joined("cpu") as world:
        assert isinstance(world, ProcessGroup)
        assert (world.size, world.causes()) == (2, {"world": "2"})
        _check_gathers(world)
        _check_the_gradient_of_a_gathered_loss(world)
        _check_questions(world)
        for splits in (1, 4):
            _check_batch_norm(world, splits)
        world.wait()
    return 0


def _check_gathers(world: ProcessGroup) -> None:
    rank = world.rank
    whole = torch.arange(ROWS * WIDTH).view(ROWS, WIDTH)
    assert_close(world.part(whole), whole[rank * 4 : rank * 4 + 4])
    odd = torch.full((3,), rank, dtype=torch.uint8)  # what follows is not aligned
    numbers, scalar = world.part(whole).double(), torch.tensor(float(rank))
    bytes_, gathered, scalars = world.all_gather([odd, numbers, scalar])
    assert_close(bytes_, torch.tensor([[0] * 3, [1] * 3], dtype=torch.uint8))
    assert_close(gathered.flatten(0, 1), whole.double())
    assert_close(scalars, torch.tensor([0.0, 1.0]))
    first, second = torch.tensor([1.0, 2.0]) + rank, torch.tensor(4.0) * rank
    world.mean_([first, second])
    assert_close(first, torch.tensor([1.5, 2.5]))
    assert_close(second, torch.tensor(2.0))


def _check_the_gradient_of_a_gathered_loss(world: ProcessGroup) -> None:
    """Every pair of rows counts, so a rank's rows meet those of the other."""
    draw = torch.Generator().manual_seed(1)
    rows = torch.randn(ROWS, WIDTH, dtype=torch.float64, generator=draw)
    weight = torch.randn(WIDTH, WIDTH, dtype=torch.float64, generator=draw)

    def loss(embeddings: Tensor) -> Tensor:
        return (embeddings @ embeddings.T).softmax(1).square().mean()

    one = weight.clone().requires_grad_()
    loss(rows @ one).backward()  # type: ignore[no-untyped-call]  # torch has no types here
    several = weight.clone().requires_grad_()
    (gathered,) = world.gather([world.part(rows) @ several])
    loss(gathered).backward()  # type: ignore[no-untyped-call]  # the same
    assert one.grad is not None
    assert several.grad is not None
    world.mean_([several.grad])
    assert_close(several.grad, one.grad, rtol=1e-12, atol=1e-14)


def _check_questions(world: ProcessGroup) -> None:
    assert world.agreed(lambda: world.is_first)
    assert not world.agreed(lambda: not world.is_first)
    requests = world.requests(lambda: world.is_first, lambda: not world.is_first)
    assert not requests.asked(0)
    (gathered,) = world.all_gather([requests.outgoing()])
    requests.take(gathered)
    assert (requests.asked(0), requests.asked(1)) == (True, False)
    world.check_alike(lambda: hashlib.sha256(b"same").digest(), what="It")
    with pytest.raises(DivergedRanks, match="It of rank 0 is not that of rank 1"):
        world.check_alike(lambda: hashlib.sha256(bytes([world.rank])).digest(), what="It")


def _check_batch_norm(world: ProcessGroup, splits: int) -> None:
    """Values, gradients and running statistics are those of one process with all rows."""
    draw = torch.Generator().manual_seed(2)
    whole = 50 + torch.randn(ROWS, 4, 2, 2, dtype=torch.float64, generator=draw)
    pull = torch.randn(ROWS, 4, 2, 2, dtype=torch.float64, generator=draw)
    one, several = (SplitBatchNorm2d(4, splits=splits, relu=True).double() for _ in range(2))
    several.world = world
    expected, x = whole.clone().requires_grad_(), world.part(whole).clone().requires_grad_()
    out = one(expected)
    (out * pull).sum().backward()
    own = several(x)
    (own * world.part(pull)).sum().backward()
    assert_close(own, world.part(out))
    assert expected.grad is not None
    assert_close(x.grad, world.part(expected.grad))
    gradients = [parameter.grad for parameter in several.parameters() if parameter.grad is not None]
    statistics = [tensor for tensor in several.buffers() if tensor.is_floating_point()]
    world.mean_([*gradients, *statistics])
    for sum_, parameter in zip(gradients, one.parameters(), strict=True):
        assert parameter.grad is not None
        assert_close(sum_ * world.size, parameter.grad)
    for ours, theirs in zip(several.buffers(), one.buffers(), strict=True):
        assert_close(ours, theirs)


def diverge(spec_file: Path, out: Path) -> int:
    """Change one weight of rank 1 after a step; rank 0 must find it and keep no checkpoint."""
    torch.set_num_threads(1)
    spec = JobSpec.model_validate(json.loads(spec_file.read_text()))
    paths = RunPaths(out=out, pack=Path(spec.dataset))
    device_config = DeviceConfig(device="cpu", threads=1, loader_threads=0)
    with (
        joined("cpu") as world,
        build_run(spec, paths, device_config=device_config, world=world) as run,
    ):
        run.advance()
        parameter: nn.Parameter = next(iter(run.method.trainable_parameters().values()))
        with torch.no_grad():
            parameter.view(-1)[0] += 1e-6 * world.rank
        if world.is_first:
            with pytest.raises(DivergedRanks, match="The state after step 1 of rank 0"):
                run.save(lambda _event: None)
        else:
            run.save(lambda _event: None)
        world.wait()
    return 0

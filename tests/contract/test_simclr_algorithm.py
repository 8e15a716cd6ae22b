"""Our SimCLR beside LightlySSL's loss and torch's batch norm and SGD, in float64, for 30 steps."""

import copy

import pytest
import torch
from lightly.loss import DCLLoss, NTXentLoss
from torch import Tensor, nn

from tests.support.trainer.learner import TwoLayers
from trainer.engine.step import EagerStep
from trainer.methods.simclr.method import SimCLR
from trainer.methods.simclr.spec import ResolvedSimCLRSpec
from trainer.nn.split_batchnorm import SplitBatchNorm1d, SplitBatchNorm2d
from trainer.nn.views import Batch, Pixels
from trainer.optim.optimizer import make_optimizer
from trainer.optim.spec import ResolvedSgdSpec

STEPS, BATCH, T = 30, 12, 0.5
LR, MOMENTUM, DECAY = 0.05, 0.9, 1e-4
TOLERANCE = 1e-10


def in_torch(module: nn.Module) -> nn.Module:
    """The same weights with the library's batch norm."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SplitBatchNorm2d):
                is_flat = isinstance(child, SplitBatchNorm1d)
                norm = (nn.BatchNorm1d if is_flat else nn.BatchNorm2d)(child.num_features).double()
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)
    return module


def near(ours: Tensor, theirs: Tensor) -> None:
    atol = TOLERANCE * float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=atol)


@pytest.mark.parametrize("decoupled", [False, True])
def test_thirty_steps_equal_lightlys(decoupled: bool) -> None:
    """Losses, weights and running statistics. Both views go through batch norm together."""
    torch.manual_seed(0)
    spec = ResolvedSimCLRSpec(temperature=T, dim=8, decoupled=decoupled)
    method = SimCLR(spec, TwoLayers(1), bf16=False).double()
    encoder, head = in_torch(method.tower.encoder), in_torch(method.tower.head)
    network = nn.Sequential(encoder, head)
    sgd = ResolvedSgdSpec(lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    step_executor = EagerStep(method, make_optimizer(sgd, method.trainable_parameters()))
    optimizer = torch.optim.SGD(
        network.parameters(), LR, momentum=MOMENTUM, weight_decay=DECAY, foreach=False
    )
    their_loss_of = (DCLLoss if decoupled else NTXentLoss)(temperature=T)
    for step in range(STEPS):
        first, second = torch.randn(2, BATCH, 3, 8, 8, dtype=torch.float64)
        rows = torch.arange(BATCH) + step
        batch = Batch((Pixels(first), Pixels(second)), rows, rows)
        output = step_executor.gradient(batch, method.random_inputs(BATCH, step=step))
        step_executor.update(output, lr=LR)
        their_loss = their_loss_of(*network(torch.cat([first, second])).chunk(2))
        optimizer.zero_grad()
        their_loss.backward()
        optimizer.step()
        near(output.loss, their_loss.detach())
        ours = [*method.encoder.state_dict().values(), *method.tower.head.state_dict().values()]
        for mine, wanted in zip(ours, network.state_dict().values(), strict=True):
            near(mine.double(), wanted.double())

"""InfoNCE over our queue beside LightlySSL's loss over its memory bank, in float64."""

import copy

import pytest
import torch
from lightly.loss import NTXentLoss
from torch import nn
from torch.nn import functional as F

from trainer.losses.info_nce import info_nce
from trainer.nn.negative_queue import NegativeQueue

BATCH, CAPACITY, WIDTH, STEPS, LR = 8, 32, 12, 11, 0.5


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_losses_weights_and_negatives_stay_equal_while_the_bank_fills(temperature: float) -> None:
    """Eleven steps: four fill the bank, and then it is overwritten almost twice.

    The batch divides the capacity: at the end of its bank LightlySSL drops what does not fit.
    """
    torch.manual_seed(0)
    ours, keys_of = (nn.Linear(10, WIDTH).double() for _ in range(2))
    theirs = copy.deepcopy(ours)
    queue = NegativeQueue(CAPACITY, WIDTH, start="random", seed=4).double()
    peer = NTXentLoss(temperature=temperature, memory_bank_size=(CAPACITY, WIDTH)).double()
    peer.memory_bank.bank.copy_(queue.keys)
    optimizer = torch.optim.SGD([*ours.parameters(), *theirs.parameters()], lr=LR)
    losses = []
    for step in range(STEPS):
        images, others = torch.randn(2, BATCH, 10, dtype=torch.float64)
        keys = F.normalize(keys_of(others).detach(), dim=1)
        queries = F.normalize(ours(images), dim=1)
        loss = info_nce(queries, keys, queue.keys, temperature=temperature)
        their_loss = peer(theirs(images), keys)
        torch.testing.assert_close(loss, their_loss, rtol=1e-12, atol=0.0)
        optimizer.zero_grad()
        torch.autograd.backward([loss, their_loss])
        optimizer.step()
        queue.push(keys, torch.arange(BATCH) + step * BATCH)
        losses.append(float(loss.detach()))
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(queue.keys, peer.memory_bank.bank, rtol=1e-12, atol=1e-15)
        assert int(queue.pointer) == int(peer.memory_bank.bank_ptr)
    assert len(set(losses)) == STEPS

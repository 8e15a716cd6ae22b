"""Signals against their definitions, on cases whose answer is known."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainer.losses import embedding_signals
from trainer.losses.embedding_signals import contrast, effective_rank, gradient_norm, std_ratio
from trainer.nn.ema import distance_ratio, ema_update_
from trainer.nn.negative_mask import NegativeMask
from trainer.spec.signal_tables import SIGNALS


def test_top1_and_top5_count_nearer_negatives() -> None:
    """Query 0 has no nearer negative, query 1 has three, query 2 has all six."""
    axis = torch.eye(4)
    queries = axis[[0, 1, 2]]
    keys = F.normalize(torch.tensor([[1.0, 0, 0, 0.1], [0, 1, 0, 1.0], [0, 0, -1, 0]]), dim=1)
    bank = torch.cat([axis[[1]]] * 3 + [axis[[3]]] * 3)
    found = contrast(queries, keys, bank)
    assert found["top1"] == pytest.approx(1 / 3)
    assert found["top5"] == pytest.approx(2 / 3)
    positive = (1 / math.sqrt(1.01) + 1 / math.sqrt(2) - 1) / 3
    assert found["positive_similarity"] == pytest.approx(positive, rel=1e-5)
    assert found["negative_similarity"] == pytest.approx(3 / 18)


def test_hidden_negatives_do_not_count() -> None:
    axis = torch.eye(3)
    mask = NegativeMask(torch.tensor([5]), torch.tensor([5, -1]), empty=-2)
    found = contrast(axis[[0]], axis[[1]], axis[[0, 2]], mask)
    assert found["top1"] == 1.0
    assert found["negative_similarity"] == 0.0


@pytest.mark.parametrize("chunk", [7, 64])
@pytest.mark.parametrize("owners", [None, [3, 8, 3, 70, 90]])
def test_contrast_is_that_of_one_matrix_in_numpy(
    owners: list[int] | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of negatives, with duplicate rows in the queue and masked slots."""
    monkeypatch.setattr(embedding_signals, "CHUNK_KEYS", chunk)
    generator = torch.Generator().manual_seed(0)
    queries, noise, bank = (
        F.normalize(torch.randn(rows, 4, generator=generator), dim=1) for rows in (5, 5, 30)
    )
    keys = F.normalize(queries + noise, dim=1)
    rows = torch.arange(30) % 9
    rows[4:7] = -2
    mask = NegativeMask(None if owners is None else torch.tensor(owners), rows, empty=-2)
    found = contrast(queries, keys, bank, mask)
    cosine = queries.numpy() @ bank.numpy().T
    seen = np.array([[row not in {-2, own} for row in rows.tolist()] for own in owners or [-2] * 5])
    nearer = ((cosine > (queries * keys).sum(1).numpy()[:, None]) & seen).sum(1)
    assert found["top1"] == (nearer < 1).mean()
    assert found["top5"] == (nearer < 5).mean()
    assert found["negative_similarity"] == pytest.approx(cosine[seen].mean(), abs=1e-6)


def test_std_ratio_is_one_on_the_sphere_and_zero_when_collapsed() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = F.normalize(torch.randn(4000, 32, generator=generator), dim=1)
    assert std_ratio(spread) == pytest.approx(1.0, abs=0.01)
    assert std_ratio(spread[:1].expand(50, 32)) == 0.0
    assert std_ratio(spread[:1]) == 0.0


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_is_the_rank_when_values_are_equal(rank: int) -> None:
    embeddings = torch.eye(8)[:rank].repeat(5, 1)
    assert effective_rank(embeddings) == pytest.approx(rank)


def test_norms_and_the_key_encoders_way() -> None:
    fast, slow = nn.Linear(3, 2), nn.Linear(3, 2)
    with torch.no_grad():
        for value in slow.parameters():
            value.zero_()
    assert distance_ratio(slow, fast) == pytest.approx(1.0)
    ema_update_(slow, fast, momentum=0.75)
    assert distance_ratio(slow, fast) == pytest.approx(0.75)
    assert gradient_norm(fast.parameters()) == 0.0
    fast.weight.grad = torch.full((2, 3), 2.0)
    assert gradient_norm(fast.parameters()) == pytest.approx(math.sqrt(24.0))


def test_following_keeps_storage_and_buffers() -> None:
    """CUDA graphs hold on to storage; batch norm keeps the key encoder's own statistics."""
    fast, slow = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    assert fast.running_mean is not None
    assert slow.running_mean is not None
    fast.running_mean.fill_(3.0)
    before = [value.data_ptr() for value in slow.parameters()]
    ema_update_(slow, fast, momentum=0.0)
    assert [value.data_ptr() for value in slow.parameters()] == before
    assert not slow.running_mean.any()


def test_every_signal_has_a_meaning_and_no_other_metric_name() -> None:
    for name, signal in SIGNALS.items():
        assert signal.unit
        assert signal.meaning not in {"", signal.unit}, name
        assert re.fullmatch(r"[a-z0-9_]*", signal.metric), name

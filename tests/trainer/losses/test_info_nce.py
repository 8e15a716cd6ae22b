"""InfoNCE against its formula in numpy."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainer.losses import chunked_softmax
from trainer.losses.info_nce import info_nce
from trainer.methods.moco import cost
from trainer.nn.negative_mask import NegativeMask


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)


def formula(
    query: np.ndarray, key: np.ndarray, negatives: np.ndarray, t: float, masked_out: np.ndarray
) -> float:
    """Eq. 1 of the paper, one query at a time."""
    terms = []
    for q, k, hides in zip(query, key, masked_out, strict=True):
        seen = [math.exp(q @ n / t) for n, gone in zip(negatives, hides, strict=True) if not gone]
        positive = math.exp(q @ k / t)
        terms.append(-math.log(positive / (positive + sum(seen))))
    return float(np.mean(terms))


@pytest.mark.parametrize("chunk", [4, 7, 1000])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_formula(chunk: int, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_softmax, "CHUNK_KEYS", chunk)
    query, key, negatives = unit(5, 8, 0), unit(5, 8, 1), unit(23, 8, 2)
    query_rows = torch.arange(5)
    rows = torch.arange(23) % 9 - 1
    mask = NegativeMask(query_rows, rows, empty=-1) if masked else None
    masked_out = np.zeros((5, 23), bool)
    if masked:
        masked_out = (rows[None] == query_rows[:, None]).numpy() | (rows[None] == -1).numpy()
        assert masked_out.any()
    found = info_nce(query, key, negatives, temperature=0.2, mask=mask)
    expected = formula(query.numpy(), key.numpy(), negatives.numpy(), 0.2, masked_out)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunk", [100, 97, 16384])
@pytest.mark.parametrize("empty", [0, 7, 300])
def test_rounded_negatives_cost_no_more_than_autocast(
    empty: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is torch's own autocast. None, few or many of the negatives are hidden from all,
    and two from a query each."""
    monkeypatch.setattr(chunked_softmax, "CHUNK_KEYS", chunk)
    negatives, rows = unit(500, 64, 2), torch.arange(500)
    rows[100 : 100 + empty] = -2
    mask = NegativeMask(torch.tensor([499, 600, 0, 601, 602, 603]), rows, empty=-2)
    found = {}
    for way in ("exact", "ours", "torch's"):
        kind = torch.float64 if way == "exact" else torch.float32
        query, key = (unit(6, 64, seed).to(kind).requires_grad_() for seed in (0, 1))
        if way == "ours":
            rounded = negatives.bfloat16()
            loss = info_nce(query, key, rounded, temperature=0.07, mask=mask)
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=way != "exact"):
                others = query @ negatives.to(kind).T
                others = others.masked_fill(mask.columns(slice(None)), -torch.inf)
                logits = torch.cat([(query * key).sum(1, keepdim=True), others], 1) / 0.07
                loss = F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64))
        found[way] = (loss.detach(), *torch.autograd.grad(loss, [query, key]))
        assert all(each.dtype == kind for each in found[way])

    def error(way: str) -> float:
        pairs = zip(found[way], found["exact"], strict=True)
        return max(float((one - true).norm() / true.norm()) for one, true in pairs)

    assert error("ours") < 2e-3
    assert error("ours") < 1.5 * error("torch's")


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_chunk_that_is_hidden_from_all_counts_for_nothing(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_softmax, "CHUNK_KEYS", 10)
    query, key, negatives = unit(4, 8, 0), unit(4, 8, 1), unit(400, 8, 2).to(kind)
    rows = torch.arange(400)
    rows[20:30] = -2
    seen = torch.cat([negatives[:20], negatives[30:]])
    found = [
        info_nce(query.float(), key.float(), some, temperature=0.2, mask=hides)
        for some, hides in ((negatives, NegativeMask(None, rows, empty=-2)), (seen, None))
    ]
    assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 4096])
def test_is_ln_of_one_plus_k_when_all_similarities_are_equal(rows: int) -> None:
    same = unit(1, 16, 0)
    found = info_nce(same.expand(3, 16), same.expand(3, 16), same.expand(rows, 16), temperature=0.1)
    assert float(found) == pytest.approx(math.log1p(rows), rel=1e-12)


def test_chunks_change_neither_loss_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    key, negatives = unit(6, 8, 1), unit(50, 8, 2)
    found = []
    for chunk in (50, 16):
        monkeypatch.setattr(chunked_softmax, "CHUNK_KEYS", chunk)
        query = unit(6, 8, 0).requires_grad_()
        loss = info_nce(query, key, negatives, temperature=0.07)
        loss.backward()  # type: ignore[no-untyped-call]
        assert query.grad is not None
        found.append((loss.detach(), query.grad))
    assert found[0][0].allclose(found[1][0], rtol=1e-12, atol=0.0)
    assert found[0][1].allclose(found[1][1], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("chunk", [7, 50])
@pytest.mark.parametrize("temperature", [0.01, 0.2])
def test_loss_and_gradients_are_those_of_torchs_cross_entropy(
    chunk: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: all logits in one matrix, with some negatives masked for some queries."""
    monkeypatch.setattr(chunked_softmax, "CHUNK_KEYS", chunk)
    negatives, rows = unit(50, 8, 2), torch.arange(50) % 9
    found = []
    for way in ("ours", "torch's"):
        query, key = (unit(6, 8, seed).requires_grad_() for seed in (0, 1))
        if way == "ours":
            mask = NegativeMask(torch.arange(6), rows, empty=-2)
            loss = info_nce(query, key, negatives, temperature=temperature, mask=mask)
        else:
            others = (query @ negatives.T).masked_fill(
                rows[None] == torch.arange(6)[:, None], -torch.inf
            )
            logits = torch.cat([(query * key).sum(1, keepdim=True), others], 1) / temperature
            loss = F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64))
        found.append((loss.detach(), *torch.autograd.grad(loss, [query, key])))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_above_the_chunk_size_no_logits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors kept by autograd must not grow to [B, K]."""
    monkeypatch.setattr(chunked_softmax, "CHUNK_KEYS", 256)
    sizes: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    query = unit(8, 4, 0).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        info_nce(query, unit(8, 4, 1), unit(2048, 4, 2), temperature=0.1)
    assert max(sizes) < 8 * 256


def test_a_query_that_sees_no_negative_has_no_loss_and_no_gradient() -> None:
    query = unit(2, 4, 0).requires_grad_()
    mask = NegativeMask(None, torch.full((5,), -2), empty=-2)
    loss = info_nce(query, unit(2, 4, 1), unit(5, 4, 2), temperature=0.1, mask=mask)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert query.grad is not None
    assert not query.grad.any()


def test_the_estimate_of_memory_knows_how_many_logits_there_are() -> None:
    assert chunked_softmax.CHUNK_KEYS == cost.LOGIT_KEYS

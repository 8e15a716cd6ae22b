"""SimCLR against the formula of its paper, its signals against numpy."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss

from tests.support.data.dataset_facts import made_up_facts
from trainer.methods.base import Method, load_method
from trainer.methods.simclr.method import SimCLR
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.nn.views import Batch, Pixels
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROWS, SIDE_PX, T = 6, 16, 0.4


def method_of(**settings: object) -> Method:
    sent = JobSpec.model_validate(
        {
            "dataset": "x",
            "encoder": {"name": "small"},
            "views": {"side_px": SIDE_PX},
            "method": {"name": "simclr", "temperature": T, "dim": 8, **settings},
        }
    )
    spec = resolve(sent, made_up_facts(side_px=SIDE_PX)).spec
    return load_method(spec, partial(encoder_for, spec), bf16=False)


def batch_of(identities: list[int] | None = None, *, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        Pixels(torch.randn(ROWS, 3, SIDE_PX, SIDE_PX, generator=generator)) for _ in range(2)
    )
    rows = torch.arange(ROWS)
    return Batch((first, second), rows, rows if identities is None else torch.tensor(identities))


def eq_1(z: np.ndarray[Any, Any], identities: list[int], *, decoupled: bool) -> float:
    """Eq. 1 of arXiv:2002.05709, one anchor at a time; rows i and i + B are a pair."""
    both, count = identities * 2, len(z)
    terms = []
    for i in range(count):
        pair = (i + count // 2) % count
        others = [k for k in range(count) if k != i and (k == pair or both[k] != both[i])]
        if decoupled:
            others.remove(pair)
        total = sum(math.exp(z[i] @ z[k] / T) for k in others)
        terms.append(-math.log(math.exp(z[i] @ z[pair] / T) / total))
    return float(np.mean(terms))


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("identities", [[0, 1, 2, 3, 4, 5], [0, 1, 0, 3, 1, 5]])
def test_the_loss_is_eq_1_of_the_paper(identities: list[int], decoupled: bool) -> None:
    """Rows of one identity are no negatives of each other."""
    method = method_of(decoupled=decoupled)
    batch = batch_of(identities)
    embeddings = method.embed_views(batch, method.random_inputs(ROWS, step=0))
    output = method.loss(embeddings, batch.identities)
    z = torch.cat([*embeddings.queries, *embeddings.keys]).detach().double().numpy()
    assert np.allclose(np.linalg.norm(z, axis=1), 1.0)
    assert float(output.loss.detach()) == pytest.approx(
        eq_1(z, identities, decoupled=decoupled), rel=1e-5
    )


def test_the_step_is_that_of_lightly() -> None:
    """Both views in one pass, and the gradient of every weight."""
    method, theirs = method_of(), method_of()
    batch = batch_of()
    method.loss_at(batch, step=0).loss.backward()  # type: ignore[no-untyped-call]
    assert isinstance(theirs, SimCLR)
    pixels = torch.cat([view.pixels for view in batch.views])
    first, second = theirs.tower.head(theirs.encoder(pixels)).chunk(2)
    NTXentLoss(temperature=T)(first, second).backward()
    for ours, wanted in zip(method.parameters(), theirs.parameters(), strict=True):
        assert ours.grad is not None
        assert wanted.grad is not None
        assert torch.allclose(ours.grad, wanted.grad, rtol=1e-3, atol=1e-6)


def test_signals_are_those_of_numpy() -> None:
    method = method_of()
    output = method.loss_at(batch_of(), step=0)
    signals = method.signals(output, dataset_rows=100)
    z = torch.cat([output.queries, output.keys]).detach().double().numpy()
    cosine = z[:ROWS] @ z.T
    positive = cosine[np.arange(ROWS), np.arange(ROWS) + ROWS]
    columns = np.arange(2 * ROWS) % ROWS
    is_negative = columns[None] != np.arange(ROWS)[:, None]
    nearer = ((cosine > positive[:, None]) & is_negative).sum(1)
    assert signals["loss"] == pytest.approx(eq_1(z, list(range(ROWS)), decoupled=False), rel=1e-5)
    assert signals["chance_loss"] == pytest.approx(math.log(2 * ROWS - 1))
    assert signals["top1"] == (nearer < 1).mean()
    assert signals["positive_similarity"] == pytest.approx(positive.mean(), abs=1e-6)
    assert signals["negative_similarity"] == pytest.approx(cosine[is_negative].mean(), abs=1e-6)


def test_everything_that_learns_is_in_the_optimizer_and_all_state_in_the_state_dict() -> None:
    method = method_of()
    names = {name for name, value in method.named_parameters() if value.requires_grad}
    assert names == set(method.trainable_parameters())
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.after_step(method.loss_at(batch_of(), step=0))
    moved = {name for name, value in method.state_dict().items() if not value.equal(before[name])}
    assert all("running" in name or "num_batches" in name for name in moved)


def test_a_group_of_split_batch_norm_has_both_views_of_its_rows() -> None:
    """In training each group is normalized as a batch of its own."""
    method, alone = method_of(bn="split", bn_splits=3), method_of(bn="plain")
    alone.load_state_dict(method.state_dict())
    batch = batch_of()
    (first,), (second,) = method.embed_views(batch, torch.Tensor())
    for start in range(0, ROWS, 2):
        rows = slice(start, start + 2)
        views = tuple(Pixels(view.pixels[rows]) for view in batch.views)
        part = Batch(views, batch.rows[rows], batch.identities[rows])
        (own_first,), (own_second,) = alone.embed_views(part, torch.Tensor())
        torch.testing.assert_close(first[rows], own_first)
        torch.testing.assert_close(second[rows], own_second)

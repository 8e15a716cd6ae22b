"""Losses of more than two views of a row beside numpy, in float64, written out from the papers."""

from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.support.data.dataset_facts import made_up_facts
from tests.support.trainer.both_views import method_of
from tests.support.trainer.photos import batch_of, photos, spec_of
from tests.support.trainer.spec_members import beside
from trainer.methods.base import Embeddings, Method
from trainer.methods.registry import method_names, methods_of_more_views
from trainer.modalities.image.augment.normalization import Normalization
from trainer.modalities.image.random_views import views_of
from trainer.nn.views import Batch, Pixels
from trainer.schema.errors import SpecError
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

VIEWS, ROWS, DIM = 4, 6, 5
LABELS = [0, 1, 2, 0, 1, 3]
Floats = NDArray[np.float64]


@pytest.fixture
def views() -> list[Tensor]:
    """Unit vectors of each view, [ROWS, DIM] each."""
    draw = torch.Generator().manual_seed(0)
    made = torch.randn(VIEWS, ROWS, DIM, generator=draw, dtype=torch.float64)
    return list(torch.nn.functional.normalize(made, dim=2))


def loss_of(method: Method, views: list[Tensor], labels: list[int]) -> float:
    embeddings = Embeddings((views[0],), tuple(views[1:]))
    return float(method.loss(embeddings, torch.tensor(labels)).loss)


def supcon(views: list[Floats], labels: list[int], temperature: float) -> float:
    """Return L_out, eq. 2 of arXiv:2004.11362, by loops over anchors and positives."""
    z, y = np.concatenate(views), np.tile(labels, len(views))
    terms = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        total = np.log(sum(np.exp(z[i] @ z[a] / temperature) for a in others))
        positives = [a for a in others if y[a] == y[i]]
        terms.append(np.mean([total - z[i] @ z[p] / temperature for p in positives]))
    return float(np.mean(terms))


def nt_xent(first: Floats, second: Floats, temperature: float) -> float:
    """Return eq. 1 of arXiv:2002.05709: the positive of i is i + B."""
    z = np.concatenate([first, second])
    terms = []
    for i in range(len(z)):
        pair = (i + len(first)) % len(z)
        total = sum(np.exp(z[i] @ z[k] / temperature) for k in range(len(z)) if k != i)
        terms.append(np.log(total) - z[i] @ z[pair] / temperature)
    return float(np.mean(terms))


def test_supcon_takes_all_views_as_positives(views: list[Tensor]) -> None:
    expected = supcon([view.numpy() for view in views], LABELS, 0.3)
    assert loss_of(method_of("supcon", temperature=0.3), views, LABELS) == pytest.approx(expected)


def test_simclr_is_the_mean_over_pairs(views: list[Tensor]) -> None:
    arrays = [view.numpy() for view in views]
    expected = np.mean([nt_xent(a, b, 0.3) for a, b in combinations(arrays, 2)])
    found = loss_of(method_of("simclr", temperature=0.3), views, list(range(ROWS)))
    assert found == pytest.approx(expected)


def test_triplet_takes_all_views(views: list[Tensor]) -> None:
    """Batch-hard, eq. 5 of arXiv:1703.07737, with plain distances and a margin."""
    z, y = np.concatenate([view.numpy() for view in views]), np.tile(LABELS, VIEWS)
    apart = np.sqrt(np.square(z[:, None] - z).sum(2))
    others = ~np.eye(len(z), dtype=bool)
    terms = [
        max(0.0, apart[i][(y == y[i]) & others[i]].max() - apart[i][y != y[i]].min() + 0.3)
        for i in range(len(z))
    ]
    method = method_of("triplet", mining="batch_hard", margin=0.3)
    assert loss_of(method, views, LABELS) == pytest.approx(np.mean(terms), rel=1e-6)


def test_siamese_is_the_mean_over_pairs(views: list[Tensor]) -> None:
    """With two rows the other row of each is known: 1/2 (d^2 + max(0, 1 - d')^2) of the means."""
    few = [view[:2] for view in views]
    terms = []
    for a, b in combinations([view.numpy() for view in few], 2):
        alike = np.square(a - b).sum(1)
        hinge = np.maximum(0.0, 1.0 - np.sqrt(np.square(a - b[::-1]).sum(1))) ** 2
        terms.append((alike.mean() + hinge.mean()) / 2.0)
    found = loss_of(method_of("siamese", margin=1.0), few, [0, 1])
    assert found == pytest.approx(np.mean(terms))


def test_vicreg_is_the_mean_over_pairs(views: list[Tensor]) -> None:
    terms = []
    for pair in combinations([view.numpy() for view in views], 2):
        loss = 25.0 * np.square(pair[0] - pair[1]).mean()
        for z in pair:
            covariance = np.cov(z.T)
            variances = np.diag(covariance)
            loss += 25.0 * np.maximum(0.0, 1.0 - np.sqrt(variances + 1e-4)).mean()
            loss += (np.square(covariance).sum() - np.square(variances).sum()) / DIM
        terms.append(loss)
    found = loss_of(method_of("vicreg"), views, list(range(ROWS)))
    assert found == pytest.approx(np.mean(terms))


def noise(views: int) -> Batch:
    draw = torch.Generator().manual_seed(1)
    made = (Pixels(torch.randn(ROWS, 3, 16, 16, generator=draw)) for _ in range(views))
    rows = torch.arange(ROWS)
    return Batch(tuple(made), rows, rows)


def test_byol_predicts_each_other_view() -> None:
    """The mean of 2 - 2 cos over the 12 orders of two of four views."""
    method: Any = method_of("byol", head_hidden=12)
    batch = noise(VIEWS)
    with torch.no_grad():
        predictions = [method.query.predicted(view)[0].double().numpy() for view in batch.views]
        targets = [method.key(view).double().numpy() for view in batch.views]
    terms = [
        2.0 - 2.0 * (predictions[a] * targets[b]).sum(1).mean()
        for a, b in permutations(range(VIEWS), 2)
    ]
    assert float(method.loss_at(batch, step=0).loss.detach()) == pytest.approx(
        np.mean(terms), rel=1e-5
    )


@pytest.mark.parametrize("name", methods_of_more_views())
def test_every_view_has_a_gradient(name: str) -> None:
    batch = noise(3)
    pixels = [view.pixels.requires_grad_() for view in batch.views]
    settings = {"head_hidden": 12} if name in {"byol", "vicreg"} else {}
    method_of(name, **settings).loss_at(batch, step=0).loss.backward()  # type: ignore[no-untyped-call]
    assert min(float(each.grad.abs().sum()) for each in pixels if each.grad is not None) > 0.0
    assert all(each.grad is not None for each in pixels)


def test_each_view_has_a_number_of_its_own() -> None:
    """The first of several are those of two; all but the first have the second's settings."""
    plain, batch = Normalization((0.0,) * 3, (1.0,) * 3), batch_of(photos([(30, 40)] * 5))
    words = {"crop_scale": (0.2, 1.0), "second": {"flip_p": 1.0}}
    made = partial(views_of, moments=plain, device=torch.device("cpu"))
    two, several = (made(spec_of(**words, count=count)) for count in (2, VIEWS))
    rows = torch.arange(5)
    found = [view.pixels for view in several.random(batch, rows, seed=1, epoch=2)]
    assert len(found) == VIEWS
    for view, expected in zip(found, two.random(batch, rows, seed=1, epoch=2), strict=False):
        assert view.equal(expected.pixels)
    assert several.second is not None
    assert found[3].equal(several.second.views(batch, rows, seed=1, epoch=2, view=3))
    assert not found[2].equal(found[3])


@pytest.mark.parametrize("name", method_names())
def test_a_method_that_compares_two_views_says_which_take_more(name: str) -> None:
    words = {"dataset": "x", "method": {"name": name}, "views": {"count": 3}} | beside(name)
    facts = made_up_facts(labels=("cat", "dog"))
    spec, names = JobSpec.model_validate(words), methods_of_more_views()
    if name in names:
        assert resolve(spec, facts).spec.views.count == 3
        return
    takes = "reads one view" if spec.views_per_row == 1 else "compares two views"
    with pytest.raises(SpecError, match=f"{name} {takes}; .*{', '.join(names)}") as refusal:
        resolve(spec, facts)
    assert refusal.value.field == "views.count"


def test_work_grows_with_the_views() -> None:
    words: dict[str, Any] = {"dataset": "x", "method": {"name": "supcon"}, "batch_rows": 256}
    needs = []
    for count in (2, VIEWS):
        spec = JobSpec.model_validate(words | {"views": {"count": count}})
        needs.append(estimate(resolve(spec, made_up_facts()).spec, made_up_facts()))
    assert needs[1].flops_per_row == 2.0 * needs[0].flops_per_row
    assert needs[1].memory_bytes > 1.5 * needs[0].memory_bytes

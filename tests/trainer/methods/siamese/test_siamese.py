"""Siamese pairs: unit vectors, unless embeddings of any length are asked for."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from tests.support.trainer.both_views import batch_of, embedded_views, method_of
from trainer.losses.siamese_pairs import drawn_other, pairs
from trainer.methods.siamese.spec import SiameseSpec

IDENTITIES = [0, 1, 0, 2, 0, 1]


@pytest.mark.parametrize("normalize", [False, True])
def test_the_loss_is_that_of_its_pairs(normalize: bool) -> None:
    method = method_of("siamese", normalize=normalize)
    batch = batch_of(IDENTITIES)
    first, second = (
        F.normalize(view, dim=1) if normalize else view for view in embedded_views(method, batch)
    )
    assert bool((first.norm(dim=1) - 1).abs().max() < 1e-5) == normalize
    other, has_other = drawn_other(batch.identities)
    wanted = pairs(first, second, other=other, has_other=has_other, margin=1.0)
    output = method.loss_at(batch, step=0)
    torch.testing.assert_close(output.loss.detach(), wanted.loss)
    signals = method.signals(output, dataset_rows=100)
    assert signals["pair_accuracy_ratio"] == pytest.approx(float(wanted.right_ratio))
    assert -1.0 <= signals["positive_similarity"] <= 1.0


def test_a_margin_beyond_the_reach_of_unit_vectors_is_refused() -> None:
    assert SiameseSpec(margin=3.0, normalize=False).margin == 3.0
    with pytest.raises(ValidationError, match="unit vectors are at most 2 apart"):
        SiameseSpec(margin=3.0)

"""Triplets: their step, their signals, and the alarm when all embeddings become one point."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.support.trainer.both_views import batch_of, embedded_views, method_of
from tests.trainer.losses.test_triplets import apart_of, expected
from trainer.methods.base import StepOutput
from trainer.methods.triplet.spec import TripletSpec
from trainer.schema.verdicts import judge
from trainer.spec.signal_tables import FILLS

IDENTITIES = [0, 1, 0, 2, 0, 1]


@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard", "all"])
def test_the_loss_is_that_of_both_views_of_every_row(mining: Any) -> None:  # noqa: ANN401
    """Squared distances by default, but for batch_hard."""
    method = method_of("triplet", mining=mining)
    batch = batch_of(IDENTITIES)
    d = apart_of(torch.cat(embedded_views(method, batch)).double(), squared=mining != "batch_hard")
    output = method.loss_at(batch, step=0)
    loss, active = expected(np.asarray(d), IDENTITIES * 2, mining)
    assert float(output.loss.detach()) == pytest.approx(loss, rel=1e-4)
    signals = method.signals(output, dataset_rows=100)
    assert signals["active_triplets_ratio"] == pytest.approx(active)


def test_a_run_at_the_margin_with_one_point_is_called_collapsed() -> None:
    method = method_of("triplet", mining="batch_hard")
    point = torch.nn.functional.normalize(torch.ones(6, 8), dim=1)
    loss = method.loss_at(batch_of(IDENTITIES), step=0).loss.new_tensor(0.2)
    output = StepOutput(loss, point, point, torch.tensor(IDENTITIES), loss_terms=1)
    signals = method.signals(output, dataset_rows=100)
    lines = [{"step": 9.0, "epoch": 3.0, **signals}]
    assert judge(lines, share=0.5, fills=FILLS).verdict.code == "collapsed"


def test_a_healthy_run_is_judged_without_a_loss_of_chance() -> None:
    lines = [{"step": 9.0, "epoch": 3.0, "loss": 0.05, "embedding_std_ratio": 0.9}]
    judgement = judge(lines, share=1.0, fills=FILLS)
    assert (judgement.verdict.code, judgement.evidence) == ("healthy", "Loss 0.050; spread 0.90.")


def test_soft_needs_batch_hard() -> None:
    assert TripletSpec(mining="batch_hard", soft=True).soft
    with pytest.raises(ValidationError, match="soft needs mining batch_hard"):
        TripletSpec(soft=True)

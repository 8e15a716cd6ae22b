"""Supervised contrast: its step against the paper, and its signals."""

import math

import pytest
import torch

from tests.support.trainer.both_views import METHOD_ROWS, batch_of, embedded_views, method_of
from tests.trainer.losses.test_supervised_contrast import T, eq_2

IDENTITIES = [0, 1, 0, 2, 0, 1]


def test_the_loss_is_eq_2_of_both_views_of_every_row() -> None:
    method = method_of("supcon", temperature=T)
    batch = batch_of(IDENTITIES)
    z = torch.cat(embedded_views(method, batch)).double().numpy()
    loss = method.loss_at(batch, step=0).loss
    assert float(loss.detach()) == pytest.approx(eq_2(z, IDENTITIES * 2), rel=1e-5)


def test_signals_count_rows_that_are_alone_with_their_label() -> None:
    method = method_of("supcon")
    output = method.loss_at(batch_of(IDENTITIES), step=0)
    signals = method.signals(output, dataset_rows=100)
    assert signals["anchors_without_positive_ratio"] == pytest.approx(1 / METHOD_ROWS)
    assert signals["chance_loss"] == pytest.approx(math.log(2 * METHOD_ROWS - 1))
    assert signals["loss"] == pytest.approx(float(output.loss.detach()))

"""Batch norm of a head counts where the encoder has none: `bn` is about both."""

from typing import Any

import pytest

from tests.support.service.api import facts as facts_of
from trainer.schema.errors import SpecError
from trainer.spec.defaults import Resolved, resolve
from trainer.spec.job import JobSpec


def resolved(method: dict[str, Any], *, gpus: int = 1) -> Resolved:
    words = {
        "dataset": "x",
        "encoder": {"name": "vit_tiny"},
        "method": method,
        "resources": {"gpus": gpus},
    }
    return resolve(JobSpec.model_validate(words), facts_of())


@pytest.mark.parametrize(
    "method",
    [
        {"name": "simclr", "head_batch_norm": "none"},
        {"name": "byol", "head_batch_norm": "none"},
        {"name": "vicreg", "head_batch_norm": "none"},
        {"name": "moco_v3", "head_batch_norm": "none", "predictor_batch_norm": "none"},
        {"name": "moco"},
    ],
)
def test_two_gpus_share_a_batch_where_nothing_has_batch_norm(method: dict[str, Any]) -> None:
    assert resolved(method, gpus=2).spec.resources.gpus == 2


@pytest.mark.parametrize(
    "method",
    [
        {"name": "simclr"},
        {"name": "moco", "head_batch_norm": "hidden", "bn": "plain"},
        {"name": "moco_v3", "head_batch_norm": "none"},
        {"name": "nnclr", "head_batch_norm": "none"},
    ],
)
def test_two_gpus_do_not_share_the_plain_batch_norm_of_a_head(method: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="plain takes its statistics from the whole") as refused:
        resolved(method, gpus=2)
    assert refused.value.field == "method.bn"


def test_the_batch_norm_of_a_head_is_split_by_default_as_that_of_an_encoder() -> None:
    of_job = resolved({"name": "moco", "head_batch_norm": "hidden"})
    assert of_job.spec.method.batch_norm_groups == 8
    assert "method.bn" not in of_job.reasons

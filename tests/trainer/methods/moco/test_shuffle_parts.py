"""The order of keys: fixed by the spec, whatever the number of ranks."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.data.dataset_facts import made_up_facts
from trainer.distributed.world import Alone
from trainer.methods.base import Method, load_method
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed
from trainer.schema.errors import SpecError
from trainer.spec.defaults import Resolved, resolve
from trainer.spec.job import JobSpec

ROWS, SEED = 16, 5


class Rank(Alone):
    """One rank of several, which exchanges nothing."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def resolved(gpus: int = 1, **method: Any) -> Resolved:  # noqa: ANN401  # JSON
    sent = {
        "dataset": "x",
        "seed": SEED,
        "batch_rows": ROWS,
        "encoder": {"name": "small"},
        "views": {"side_px": 8},
        "resources": {"gpus": gpus},
        "method": {"queue_rows": 32, "dim": 8, "symmetric": True, **method},
    }
    return resolve(JobSpec.model_validate(sent), made_up_facts(side_px=8))


def orders(method: Method, rank: int, size: int) -> Tensor:
    """Return the order of keys of one rank, int64 [halves, rows], and check the way back."""
    method.join(Rank(rank, size))
    inputs = method.random_inputs(ROWS // size, step=3)
    assert all(order[back].tolist() == [*range(ROWS // size)] for order, back in inputs)
    return inputs[:, 0]


def method_of(**settings: Any) -> Method:  # noqa: ANN401  # JSON
    spec = resolved(**settings).spec
    return load_method(spec, partial(encoder_for, spec), bf16=False)


def test_one_part_has_the_order_of_older_versions() -> None:
    drawn = orders(method_of(), 0, 1)
    for half in range(2):
        seed = derived_seed(SEED, f"key order {half}")
        positions = torch.arange(ROWS)
        assert (
            drawn[half].tolist()
            == permuted_rows(positions, total=ROWS, seed=seed, epoch=3).tolist()
        )


@pytest.mark.parametrize("size", [1, 2, 4])
def test_any_number_of_ranks_has_the_order_of_one_process(size: int) -> None:
    method = method_of(shuffle_parts=4)
    whole = orders(method, 0, 1)
    rows = ROWS // size
    shared = [orders(method, rank, size) + rank * rows for rank in range(size)]
    assert torch.cat(shared, 1).equal(whole)
    for part in whole.chunk(4, 1):
        assert all(sorted(half) == sorted(part[0].tolist()) for half in part.tolist())
        assert not (part[0] == part[0].sort().values).all() or not part[0].equal(part[1])
    assert whole.sort(1).values[0].tolist() == [*range(ROWS)]


def test_each_gpu_is_a_part_of_two_groups_at_least() -> None:
    assert resolved().spec.method.model_dump()["shuffle_parts"] == 1
    assert resolved(gpus=2).spec.method.model_dump()["shuffle_parts"] == 2
    with pytest.raises(SpecError, match="leaks the answer; use a multiple of 8 from 16") as refused:
        resolved(gpus=8, bn_splits=8)
    assert refused.value.field == "method.bn_splits"


@pytest.mark.parametrize("parts", [3, 32])
def test_parts_that_ranks_cannot_share_are_refused(parts: int) -> None:
    with pytest.raises(SpecError, match=f"{parts} parts cannot be shared by 2 GPUs") as refused:
        resolved(gpus=2, shuffle_parts=parts)
    assert refused.value.field == "method.shuffle_parts"

"""Refusals of batches that several GPUs cannot share. The oracle deals the rows out, one by one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.data.dataset_facts import made_up_facts
from trainer.checkpoint.fingerprint import spec_sha256
from trainer.schema.errors import SpecError
from trainer.spec.cost import estimate
from trainer.spec.defaults import Resolved, resolve
from trainer.spec.job import JobSpec
from trainer.spec.resources import Resources

SPLIT_32: dict[str, Any] = {"batch_rows": 32, "method": {"name": "moco", "bn_splits": 8}}


def resolved(gpus: int, **fields: Any) -> Resolved:  # noqa: ANN401 - JSON
    spec = {"dataset": "x", "resources": {"gpus": gpus}, **fields}
    return resolve(JobSpec.model_validate_json(json.dumps(spec)), made_up_facts(rows=50_000))


def dealt(rows: int, *, splits: int, gpus: int) -> set[tuple[int, ...]] | None:
    """Groups of rows that each GPU holds whole, by laying runs of rows on runs of groups."""
    groups: dict[int, list[int]] = {}
    for row in range(rows):
        groups.setdefault(row * splits // rows, []).append(row)
    holders = {group: {row * gpus // rows for row in held} for group, held in groups.items()}
    sizes = {len(held) for held in groups.values()}
    shares = {sum(row * gpus // rows == gpu for row in range(rows)) for gpu in range(gpus)}
    whole = all(len(gpu) == 1 for gpu in holders.values()) and len(groups) == splits
    return {tuple(sorted(sizes))} if whole and len(sizes) == len(shares) == 1 else None


@pytest.mark.parametrize(("name", "groups_of_a_gpu"), [("moco", 2), ("simclr", 1)])
@given(
    gpus=st.integers(2, 12),
    rows=st.integers(2, 96),
    splits=st.integers(1, 24),
)
def test_a_split_batch_is_taken_exactly_if_every_gpu_gets_whole_groups(
    gpus: int, rows: int, splits: int, name: str, groups_of_a_gpu: int
) -> None:
    """MoCo needs two groups on each, so that its shuffled keys can change groups."""
    method = {"name": name, "bn": "split", "bn_splits": splits}
    sizes = dealt(rows, splits=splits, gpus=gpus)
    fits = sizes is not None and min(min(sizes)) >= 2 and splits >= groups_of_a_gpu * gpus
    if fits:
        spec = resolved(gpus, batch_rows=rows, method=method).spec
        assert (spec.resources, spec.batch_rows) == (Resources(gpus=gpus), rows)
        return
    with pytest.raises(SpecError) as caught:
        resolved(gpus, batch_rows=rows, method=method)
    assert "resources.gpus" in {caught.value.field, *caught.value.also}


@pytest.mark.parametrize(
    ("gpus", "fields", "names"),
    [
        (3, SPLIT_32, {"resources.gpus", "batch_rows"}),
        (16, SPLIT_32, {"method.bn_splits", "resources.gpus"}),
        (8, SPLIT_32, {"method.bn_splits", "resources.gpus"}),
        (2, SPLIT_32 | {"partial_batch": "keep"}, {"partial_batch", "resources.gpus"}),
        (
            2,
            {"batch_rows": 32, "method": {"name": "moco", "bn": "plain"}},
            {"method.bn", "resources.gpus"},
        ),
        (
            4,
            {"batch_rows": 8, "method": {"name": "moco", "bn_splits": 8}},
            {"batch_rows", "resources.gpus"},
        ),
    ],
)
def test_a_refusal_names_every_field_that_could_change(
    gpus: int, fields: dict[str, Any], names: set[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        resolved(gpus, **fields)
    assert {caught.value.field, *caught.value.also} == names


@pytest.mark.parametrize(
    ("gpus", "nodes", "slots"), [(1, 1, 1), (8, 1, 8), (128, 16, 8), (6, 3, 2), (1024, 128, 8)]
)
def test_slots_per_node(gpus: int, nodes: int, slots: int) -> None:
    assert Resources(gpus=gpus, nodes=nodes).slots_per_node == slots


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"gpus": 0}, "gpus"),
        ({"gpus": 1025}, "gpus"),
        ({"gpus": 2.0}, "gpus"),
        ({"gpus": 256, "nodes": 129}, "nodes"),
        ({"gpus": 3, "nodes": 2}, "nodes"),
        ({"nodes": 2}, "nodes"),
        ({"gpu": 2}, "gpu"),
    ],
)
def test_wrong_numbers_are_refused_at_their_field(sent: dict[str, Any], field: str) -> None:
    spec = {"dataset": "x", "resources": sent}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate_json(json.dumps(spec))
    assert [error["loc"] for error in caught.value.errors()] == [("resources", field)]


@pytest.mark.parametrize("gpus", [2, 3, 4, 6, 8, 24, 64])
def test_the_suggested_batch_can_be_shared(gpus: int) -> None:
    found = resolved(gpus, method={"name": "moco"})
    assert found.spec.batch_rows % gpus == 0
    assert f"{gpus} GPUs" in found.reasons["batch_rows"]


@pytest.mark.parametrize(("gpus", "groups"), [(1, 8), (2, 8), (3, 6), (4, 8), (5, 10), (8, 16)])
def test_gpus_share_the_suggested_groups(gpus: int, groups: int) -> None:
    found = resolved(gpus, method={"name": "moco"})
    assert found.spec.method.batch_norm_groups == groups
    assert ("method.bn_splits" in found.reasons) == (groups != 8)
    again = resolve(JobSpec.model_validate_json(found.spec.model_dump_json()), made_up_facts())
    assert (again.spec, again.reasons) == (found.spec, {})


def test_a_refusal_of_groups_names_a_number_that_is_taken() -> None:
    with pytest.raises(SpecError, match="such as 10") as refused:
        resolved(5, method={"name": "moco", "bn_splits": 8})
    assert refused.value.field == "method.bn_splits"
    assert resolved(5, method={"name": "moco", "bn_splits": 10}).spec.resources.gpus == 5


def test_a_job_without_resources_is_what_it_was() -> None:
    spec = JobSpec(dataset="x")
    assert "resources" not in spec.model_dump_json(exclude_unset=True)
    assert resolve(spec, made_up_facts()).spec.resources == Resources()
    two = JobSpec(dataset="x", resources=Resources(gpus=2))
    assert spec_sha256(spec) == spec_sha256(two)  # the world is a cause of its own


def test_the_memory_is_that_of_one_gpu() -> None:
    """Twice the batch on two GPUs keeps twice the logits, and no more."""
    method = {"name": "moco", "queue_rows": 1024}
    alone = estimate(resolved(1, batch_rows=64, method=method).spec, made_up_facts())
    both = estimate(resolved(2, batch_rows=128, method=method).spec, made_up_facts())
    assert both.memory_bytes - alone.memory_bytes == 4 * 1024 * 64

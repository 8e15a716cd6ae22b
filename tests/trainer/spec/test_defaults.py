"""Unset fields are filled in, with a reason; an untrainable spec is refused by field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.data.dataset_facts import made_up_facts
from trainer.evaluators.knn.spec import KnnSpec
from trainer.methods.moco.defaults import moco_of
from trainer.modalities.image.spec import image_views
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.defaults import resolve, rules_for
from trainer.spec.job import JobSpec
from trainer.spec.resolved import as_resolved
from trainer.spec.rules import steps_per_epoch


def facts(rows: int, side_px: int = 32, label_rows: tuple[int, ...] = ()) -> DatasetFacts:
    labels = tuple(f"class {number}" for number in range(len(label_rows)))
    return made_up_facts(side_px=side_px, rows=rows, labels=labels, label_rows=label_rows)


@given(rows=st.integers(8, 10_000_000), side_px=st.integers(1, 2000))
def test_every_hole_is_filled_and_has_a_reason(rows: int, side_px: int) -> None:
    resolved = resolve(JobSpec(dataset="x"), facts(rows, side_px))
    by_rules = {field for field, _ in rules_for(resolved.spec)}
    assert set(resolved.reasons) == by_rules | {"evaluation.name"}, "there are no labels"
    assert "null" not in resolved.spec.method.model_dump_json()
    assert "null" not in resolved.spec.views.model_dump_json()
    assert steps_per_epoch(resolved.spec, rows) >= 1
    again = resolve(resolved.spec, facts(rows, side_px))
    assert again.spec == resolved.spec
    assert again.reasons == {}
    # What is suggested must itself be a spec that a user may send.
    sent = JobSpec.model_validate_json(resolved.spec.model_dump_json())
    assert as_resolved(sent) == resolved.spec


def test_cifar_resolves_to_the_authors_recipe() -> None:
    spec = resolve(JobSpec(dataset="x", batch_rows=512), facts(50_000)).spec
    assert (moco_of(spec).queue_rows, moco_of(spec).momentum, moco_of(spec).temperature) == (
        4096,
        0.99,
        0.1,
    )
    assert moco_of(spec).head == "linear"
    assert (image_views(spec).side_px, image_views(spec).crop_scale, image_views(spec).blur_p) == (
        32,
        (0.08, 1.0),
        0.0,
    )
    assert spec.optim.lr == pytest.approx(0.06)
    assert spec.optim.weight_decay == 5e-4


def test_what_the_user_says_is_kept() -> None:
    sent = JobSpec.model_validate({"dataset": "x", "method": {"queue_rows": 77, "momentum": 0.5}})
    resolved = resolve(sent, facts(1000))
    assert (moco_of(resolved.spec).queue_rows, moco_of(resolved.spec).momentum) == (77, 0.5)
    assert "method.queue_rows" not in resolved.reasons


@pytest.mark.parametrize(
    ("epochs", "queue_rows", "every_steps", "why"),
    [
        (1, 4096, 1, "points"),
        (20, 4096, 5, "points"),
        (20, 65_536, 16, "negatives"),
        (400, 65_536, 50, "points"),
        (1, 1_048_576, 50, "negatives"),
    ],
)
def test_signals_are_read_less_often_the_more_they_cost(
    epochs: int, queue_rows: int, every_steps: int, why: str
) -> None:
    sent = {"dataset": "x", "batch_rows": 128, "epochs": epochs}
    spec = JobSpec.model_validate({**sent, "method": {"queue_rows": queue_rows}})
    resolved = resolve(spec, facts(10_000))
    assert resolved.spec.signals_every_steps == every_steps
    assert why in resolved.reasons["signals_every_steps"]


@pytest.mark.parametrize(
    ("body", "rows", "field"),
    [
        ({}, 1, "dataset"),
        ({"batch_rows": 64}, 63, "batch_rows"),
        ({"epochs": 3, "schedule": {"name": "cosine", "warmup_epochs": 4.0}}, 99, "schedule"),
        ({"batch_rows": 9, "epochs": 3, "schedule": {"warmup_steps": 34}}, 99, "schedule"),
        ({"schedule": {"name": "linear", "lr_min": 7.0}}, 99, "schedule.lr_min"),
        ({"batch_rows": 64, "optim": {"accumulate_steps": 3}}, 99, "optim.accumulate_steps"),
        ({"batch_rows": 64, "optim": {"accumulate_steps": 64}}, 99, "optim.accumulate_steps"),
        (
            {"batch_rows": 64, "optim": {"accumulate_steps": 2}, "resources": {"gpus": 2}},
            99,
            "optim.accumulate_steps",
        ),
        (
            {"batch_rows": 64, "optim": {"accumulate_steps": 2}, "partial_batch": "keep"},
            99,
            "partial_batch",
        ),
    ],
)
def test_what_cannot_train_is_refused_by_name(
    body: dict[str, object], rows: int, field: str
) -> None:
    with pytest.raises(SpecError, match=field) as caught:
        resolve(JobSpec.model_validate({"dataset": "x", **body}), facts(rows))
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize(("policy", "expected"), [("drop", 97), ("keep", 98)])
def test_steps_of_an_epoch(policy: str, expected: int) -> None:
    spec = JobSpec.model_validate({"dataset": "x", "batch_rows": 512, "partial_batch": policy})
    assert steps_per_epoch(spec, 50_000) == expected


def test_the_name_of_the_usual_optimizer_and_schedule_may_be_left_out() -> None:
    body = {"dataset": "x", "optim": {"lr": 0.5}, "schedule": {"warmup_epochs": 1.0}}
    spec = JobSpec.model_validate(body)
    assert (spec.optim.name, spec.optim.lr) == ("sgd", 0.5)
    assert (spec.schedule.name, spec.schedule.warmup_epochs) == ("cosine", 1.0)
    with pytest.raises(ValueError, match="name must be sgd, adamw, adam or lars"):
        JobSpec.model_validate({"dataset": "x", "optim": {"name": "adagrad"}})


@pytest.mark.parametrize(
    ("name", "lr", "weight_decay", "decay"),
    [
        ("sgd", 0.03, 5e-4, "all"),
        ("adamw", 0.001, 0.05, "all"),
        ("adam", 0.001, 0.0, "all"),
        ("lars", 0.3, 1e-6, "matrices"),
    ],
)
def test_defaults_of_each_optimizer(name: str, lr: float, weight_decay: float, decay: str) -> None:
    sent = {"dataset": "x", "batch_rows": 256, "optim": {"name": name}}
    resolved = resolve(JobSpec.model_validate(sent), facts(50_000))
    optim = resolved.spec.optim
    assert (optim.lr, optim.weight_decay, optim.decay) == (lr, weight_decay, decay)
    assert {"optim.lr", "optim.weight_decay"} <= resolved.reasons.keys()


def test_a_warm_up_is_given_once() -> None:
    schedule = {"name": "linear", "warmup_steps": 5, "warmup_epochs": 1.0}
    with pytest.raises(ValueError, match="warmup_steps and warmup_epochs both"):
        JobSpec.model_validate({"dataset": "x", "schedule": schedule})


def test_the_small_encoder_takes_more_and_longer_steps() -> None:
    sent = JobSpec.model_validate({"dataset": "x", "encoder": {"name": "small"}})
    spec = resolve(sent, facts(50_000)).spec
    assert spec.batch_rows == 128
    assert spec.optim.lr == pytest.approx(0.06)
    assert (image_views(spec).crop_scale, moco_of(spec).head) == ((0.2, 1.0), "linear")


DIGITS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
CIFAR = (5000,) * 10


@pytest.mark.parametrize(
    ("label_rows", "body", "k"),
    [
        (DIGITS, {}, 15),
        (CIFAR, {"test_dataset": "test"}, 200),
        (CIFAR, {}, 200),
        (CIFAR, {"evaluation": {"bank_rows": 5000}}, 50),
        ((100, 30), {"test_dataset": "test"}, 5),
        ((100, 90), {"test_dataset": "test"}, 9),
        ((100, 0, 90), {"test_dataset": "test"}, 9),
        ((), {"evaluation": {}}, 5),
        (CIFAR, {"evaluation": {"k": 77}}, 77),
    ],
)
def test_k_is_a_tenth_of_the_smallest_class_in_the_bank(
    label_rows: tuple[int, ...], body: dict[str, object], k: int
) -> None:
    sent = JobSpec.model_validate({"dataset": "x", **body})
    resolved = resolve(sent, facts(sum(label_rows) or 50, label_rows=label_rows))
    (knn,) = resolved.spec.evaluators
    assert isinstance(knn, KnnSpec)
    assert (knn.k, knn.feature) == (k, "backbone")
    assert ("evaluation.k" in resolved.reasons) == (k != 77)


@pytest.mark.parametrize(
    ("splits", "body", "k"),
    [
        ({"train": 800, "val": 100, "test": 100}, {}, 40),
        ({"train": 800, "val": 200}, {}, 36),
        ({"train": 800, "val": 200}, {"test_dataset": "test"}, 40),
        ({"train": 800, "val": 100, "test": 100}, {"use_splits": False}, 45),
    ],
)
def test_k_counts_the_rows_of_the_bank_where_there_are_splits(
    splits: dict[str, int], body: dict[str, object], k: int
) -> None:
    told = facts(1000, label_rows=(500, 500)).model_copy(update={"splits": splits})
    spec = resolve(JobSpec.model_validate({"dataset": "x", **body}), told).spec
    assert [knn.k for knn in spec.evaluators if isinstance(knn, KnnSpec)] == [k]


def test_a_pack_that_does_not_count_its_classes_is_taken_to_be_even() -> None:
    uncounted = facts(1797, label_rows=DIGITS).model_copy(update={"label_rows": None})
    spec = resolve(JobSpec(dataset="x"), uncounted).spec
    assert [knn.k for knn in spec.evaluators if isinstance(knn, KnnSpec)] == [16]


def test_a_job_without_evaluation_has_no_k() -> None:
    resolved = resolve(JobSpec(dataset="x", evaluation=None), facts(100))
    assert resolved.spec.evaluation is None
    assert not any(field.startswith("evaluation") for field in resolved.reasons)


def test_new_jobs_have_the_newest_rules() -> None:
    spec = resolve(JobSpec(dataset="x"), facts(100)).spec
    assert (spec.order, spec.schedule.warmup_from) == (2, 1)

"""The field `evaluation` of a job: one evaluator as ever, or a list of different ones."""

import json

import pytest
from pydantic import ValidationError

from tests.support.data.dataset_facts import made_up_facts
from trainer.checkpoint.fingerprint import spec_sha256
from trainer.evaluators.knn.spec import KnnSpec
from trainer.exports.model_card.card import suggested
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

FACTS = made_up_facts(rows=1000, labels=("a", "b"), label_rows=(500, 500))


def job(evaluation: object) -> JobSpec:
    return JobSpec.model_validate({"dataset": "x", "evaluation": evaluation})


def test_one_evaluator_stays_an_object_with_the_names_it_had() -> None:
    resolved = resolve(job({"bank_rows": 300}), FACTS)
    written = json.loads(resolved.spec.model_dump_json())["evaluation"]
    assert written == {
        "name": "knn",
        "k": 15,
        "temperature": 0.1,
        "feature": "backbone",
        "every_epochs": 1,
        "bank_rows": 300,
        "test_rows": 10000,
        "baselines": True,
    }
    assert {"evaluation.k", "evaluation.baselines"} <= resolved.reasons.keys()


def test_a_dataset_without_labels_has_an_evaluation_that_needs_none() -> None:
    facts = made_up_facts(rows=1000)
    for sent in ({}, {"preset": "moco-cifar10"}):
        resolved = resolve(JobSpec.model_validate({"dataset": "x", **sent}), facts)
        assert [own.name for own in resolved.spec.evaluators] == ["geometry"]
        assert resolved.reasons["evaluation.name"] == "it needs no labels, and the dataset has none"
        stored = JobSpec.model_validate_json(resolved.spec.model_dump_json())
        assert resolve(stored, facts).reasons == {}


@pytest.mark.parametrize("stated", [None, {}, {"k": 5}, [{"name": "retrieval"}]])
def test_a_stated_evaluation_is_kept_without_labels(stated: object) -> None:
    resolved = resolve(job(stated), made_up_facts(rows=1000))
    assert [own.name for own in resolved.spec.evaluators] == [
        own.name for own in job(stated).evaluators
    ]
    assert "evaluation.name" not in resolved.reasons


def test_a_stored_job_without_labels_keeps_its_evaluator_and_its_hash() -> None:
    """A version without `geometry` wrote `knn` into every job that it resolved."""
    facts = made_up_facts(rows=1000)
    before = resolve(job({}), facts).spec
    again = resolve(JobSpec.model_validate_json(before.model_dump_json()), facts)
    assert (again.reasons, spec_sha256(again.spec)) == ({}, spec_sha256(before))
    assert [own.name for own in again.spec.evaluators] == ["knn"]


def test_each_entry_of_a_list_is_filled_in_by_its_place() -> None:
    sent = job([{"bank_rows": 300}])
    resolved = resolve(sent, FACTS)
    (knn,) = resolved.spec.evaluators
    assert isinstance(knn, KnnSpec)
    assert knn.k == 15
    assert {"evaluation.0.k", "evaluation.0.baselines"} <= resolved.reasons.keys()
    (before,) = sent.evaluators
    assert isinstance(before, KnnSpec)
    assert before.k is None, "the spec that was sent is left alone"
    again = resolve(resolved.spec, FACTS)
    assert (again.spec, again.reasons) == (resolved.spec, {})
    sent_again = JobSpec.model_validate_json(resolved.spec.model_dump_json())
    assert sent_again.model_dump() == resolved.spec.model_dump()
    assert suggested(resolved.spec, FACTS)["evaluation.0.k"] == resolved.reasons["evaluation.0.k"]


ALL_NAMES = (
    "name must be knn, linear, few_label, retrieval, geometry, clustering, anomaly, segmentation "
    "or classifier"
)


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ([{"k": 3}, {"name": "knn"}], "knn is listed more than once; keep one entry"),
        ([], "the list is empty; name an evaluator, or set evaluation to null"),
        ([{"name": "oracle"}], ALL_NAMES),
        ({"name": "oracle"}, ALL_NAMES),
        ("knn", ALL_NAMES),
        ([{"k": 0}], "greater than or equal to 1"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_in_one_sentence(
    evaluation: object, words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        job(evaluation)
    (error,) = refused.value.errors()
    assert words in error["msg"]
    assert error["loc"][0] == "evaluation"

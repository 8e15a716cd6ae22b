"""Parts of a spec that follow from the modality of the dataset."""

import json

import pytest

from tests.support.data.dataset_facts import made_up_facts
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.modality_parts import check_alike, check_modality

IMAGES = made_up_facts()
SOUNDS = made_up_facts(modality="sound")


def test_a_job_on_images_needs_no_reason_for_its_views_and_encoder() -> None:
    reasons = resolve(JobSpec(dataset="d"), IMAGES).reasons
    assert not {"views.name", "encoder.name"} & reasons.keys()


def test_a_dataset_of_an_unknown_modality_is_refused() -> None:
    with pytest.raises(SpecError, match="sound, which this version does not know") as refused:
        resolve(JobSpec(dataset="d"), SOUNDS)
    assert refused.value.field == "dataset"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"preset": "moco-v2"}, "preset"),
        ({"views": {"side_px": 32}}, "views"),
        ({"encoder": {"name": "small"}}, "encoder.name"),
    ],
)
def test_what_is_for_images_is_refused_for_another_modality(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, object], field: str
) -> None:
    monkeypatch.setattr("trainer.spec.modality_parts.MODALITIES", ("image", "sound"))
    monkeypatch.setattr("trainer.spec.modality_parts.part_of", lambda *_: _Names)
    spec = JobSpec.model_validate({"dataset": "d"} | values)
    with pytest.raises(SpecError, match="but the dataset is sound; leave it out") as refused:
        check_modality(spec, "sound")
    assert refused.value.field == field


class _Names:
    ENCODER_NAMES = ("waves",)


def test_a_test_dataset_of_another_modality_is_refused() -> None:
    with pytest.raises(SpecError, match="it is sound, but the dataset is image") as refused:
        check_alike(IMAGES, SOUNDS)
    assert refused.value.field == "test_dataset"


def test_facts_of_older_versions_are_of_images() -> None:
    stored = json.loads(IMAGES.model_dump_json(exclude={"modality", "text"}))
    assert DatasetFacts.model_validate_json(json.dumps(stored)) == IMAGES

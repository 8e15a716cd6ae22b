"""Settings of the second view: defaults by method and size, refusals, and jobs of before."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.data.dataset_facts import made_up_facts
from trainer.checkpoint.fingerprint import spec_sha256
from trainer.modalities.image.spec import resolved_views
from trainer.schema.errors import SpecError
from trainer.spec.added_fields import settled
from trainer.spec.defaults import Resolved, resolve
from trainer.spec.job import JobSpec

OLD_SHA256 = {
    "byol": "7eb388c139f452e77521c927f40e466896e1308acf2d695a7a4b756195f95da0",
    "moco": "163f422e21f3ce012a8daaf65e9d01cb53225b4765e35341a1096e01561fa7b3",
}
"""Hashes of resolved jobs of the last version whose views were all alike."""


def resolved(method: str, side_px: int, views: dict[str, Any], *, channels: int = 3) -> Resolved:
    words = {"dataset": "x", "method": {"name": method}, "views": views, "evaluation": {}}
    facts = made_up_facts(
        side_px=side_px, rows=1000, channels=channels, mean=(0.5,) * channels, std=(0.2,) * channels
    )
    return resolve(JobSpec.model_validate(words), facts)


@pytest.mark.parametrize("method", ["byol", "moco_v3"])
@pytest.mark.parametrize(
    ("side_px", "views", "blur_p", "second"),
    [
        (224, {}, 1.0, {"blur_p": 0.1, "solarize_p": 0.2}),
        (32, {}, 0.0, {"solarize_p": 0.2}),
        (224, {"blur_p": 0.5}, 0.5, {"solarize_p": 0.2}),
        (224, {"solarize_p": 0.1}, 1.0, {"blur_p": 0.1}),
        (32, {"solarize_p": 0.1}, 0.0, "same"),
        (224, {"second": "same"}, 0.5, "same"),
        (224, {"second": {"solarize_p": 0.3}}, 0.5, {"solarize_p": 0.3}),
    ],
)
def test_byol_and_moco_v3_have_the_views_of_their_authors(
    method: str, side_px: int, views: dict[str, Any], blur_p: float, second: object
) -> None:
    """Up to 64 px no view is blurred; what the user states for both views holds for both."""
    found = resolved(method, side_px, views)
    made = found.spec.views.model_dump(mode="json")
    assert (made["blur_p"], made["second"]) == (blur_p, second)
    assert ("views.second" in found.reasons) == ("second" not in views)
    again = resolve(JobSpec.model_validate_json(found.spec.model_dump_json()), made_up_facts())
    assert again.spec.views == found.spec.views


def test_other_methods_have_views_that_are_alike() -> None:
    assert resolved_views(resolved("simclr", 224, {}).spec).second == "same"


@pytest.mark.parametrize(
    ("second", "channels", "field", "words"),
    [
        ({"saturation": 0.2}, 1, "views.second.saturation", "not RGB"),
        ({"channel_drop_p": 0.5}, 1, "views.second.channel_drop_p", "one channel"),
    ],
)
def test_what_the_images_cannot_have_is_refused_at_its_field(
    second: dict[str, Any], channels: int, field: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words) as refusal:
        resolved("moco", 32, {"second": second}, channels=channels)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("other", "the word same, or an object"),
        ({"blur_p": 2.0}, "less than or equal to 1"),
        ({"side_px": 32}, "Extra inputs"),
        ({"crop_scale": [0.9, 0.2]}, "crop_scale must rise"),
    ],
)
def test_a_wrong_value_is_told(second: object, words: str) -> None:
    text = json.dumps({"dataset": "x", "views": {"second": second}})
    with pytest.raises(ValidationError, match=words):
        JobSpec.model_validate_json(text)


@pytest.mark.parametrize("method", OLD_SHA256)
def test_a_job_of_before_keeps_views_that_are_alike(method: str) -> None:
    stored = resolved(method, 224, {"second": "same"}).spec.model_dump(mode="json")
    del stored["views"]["second"]
    spec = settled(JobSpec.model_validate_json(json.dumps(stored)))
    again = resolve(spec, made_up_facts(side_px=224, rows=1000))
    assert again.reasons == {}
    assert resolved_views(again.spec).second == "same"
    assert spec_sha256(again.spec) == OLD_SHA256[method]

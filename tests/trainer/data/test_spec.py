"""Options of an ingest: what is taken, what is refused, and what old jobs mean."""

import json

import pytest
from pydantic import ValidationError

from trainer.data.spec import LIMITS, USUAL, IngestOptions, IngestSpec, window_of


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("auto", None),
        ("full", None),
        ("860:1260", (860.0, 1260.0)),
        ("-1024:3071", (-1024.0, 3071.0)),
        ("0.5:1.5e3", (0.5, 1500.0)),
    ],
)
def test_ranges(text: str, window: tuple[float, float] | None) -> None:
    assert window_of(IngestOptions(range=text).range) == window


@pytest.mark.parametrize(
    "text", ["", "auto ", "1260:860", "5:5", "1:", ":1", "nan:1", "0:inf", "1:2:3", "0x1:0x2"]
)
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        IngestOptions(range=text)


def test_an_ingest_of_an_older_version_still_parses() -> None:
    old = {
        "dataset_id": "ds_1",
        "source": "x.zip",
        "format": "zip",
        "side_px_max": 256,
        "store_as": "jpeg",
        "seed": 3,
    }
    spec = IngestSpec.model_validate_json(json.dumps(old))
    assert (spec.store_as, spec.side_px_max, spec.seed) == ("jpeg", 256, 3)
    assert {name: getattr(spec, name) for name in IngestOptions.model_fields} == USUAL.model_dump()


def test_every_limit_is_an_option() -> None:
    assert set(LIMITS) < set(IngestOptions.model_fields)

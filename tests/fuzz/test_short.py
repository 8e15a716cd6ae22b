"""The short form of `make fuzz`: a few hundred calls as everybody."""

import json
from pathlib import Path

import pytest

from tests.fuzz.principals import principals
from tests.fuzz.run import Plan, fuzzed_api, run
from tests.fuzz.schema import DOCUMENT, Effort, schema_calls
from tests.fuzz.world import populate

FEW = "fuzzing"
PLAN = Plan(
    efforts={
        "full": Effort(examples=5, phases=FEW),
        "session-read": Effort(examples=1, phases=FEW),
    },
    raw=150,
    race_jobs=10,
)


@pytest.mark.slow
def test_a_few_hundred_calls_find_nothing(tmp_path: Path) -> None:
    with fuzzed_api(tmp_path) as api:
        calls = run(api, PLAN, folder=tmp_path)
    assert sum(calls.values()) >= 400, calls


@pytest.mark.slow
def test_what_the_document_does_not_say_is_found(tmp_path: Path) -> None:
    """An answer of 404, and the media type of a file, are struck out of the document."""
    with fuzzed_api(tmp_path) as api:
        world = populate(api)
        document = api.client.get("/openapi.json").json()
        responses = document["paths"]["/v1/jobs/{id}/artifacts/{name}"]["get"]["responses"]
        del responses["404"]
        responses["200"]["content"] = {"image/png": {"schema": {"type": "string"}}}
        (tmp_path / DOCUMENT).write_text(json.dumps(document))
        full = next(one for one in principals(api) if one.name == "full")
        effort = Effort(examples=60, phases="fuzzing", operation="downloadArtifact")
        with pytest.raises(AssertionError) as found:
            schema_calls(api, world, full, effort, folder=tmp_path)
    assert "Undocumented status code" in str(found.value)
    assert "Undocumented Content-Type" in str(found.value)

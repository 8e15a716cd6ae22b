"""The description of the interface: complete, true, and free of what it does not need."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from service.api.schemas import examples, job_history, jobs_and_datasets, neighbours, service_status
from service.app import ROUTERS
from service.server.problems import KINDS
from tests.support.service.api import Loose, RunningApi, finished_job, ready_dataset
from trainer.spec.job import JobSpec


@pytest.fixture(scope="module")
def document(api: RunningApi) -> dict[str, Any]:
    found: dict[str, Any] = api.client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def nodes(value: Loose) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def test_every_route_is_described(document: dict[str, Any]) -> None:
    described = {name for name, _ in operations(document)}
    served = {
        f"{method} {route.path_format}"  # type: ignore[attr-defined]
        for router in ROUTERS
        for route in router.routes
        if getattr(route, "include_in_schema", False)
        for method in route.methods  # type: ignore[attr-defined]
    }
    assert described == served


def test_operations_have_words(document: dict[str, Any]) -> None:
    ids = []
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        ids.append(operation["operationId"])
        assert re.fullmatch("[a-z][A-Za-z]{3,24}", operation["operationId"]), name
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
        assert set(operation["tags"]) <= tags, name
        for response in operation["responses"].values():
            assert response["description"], name
            assert response["description"] != "Successful Response", name
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (name, parameter["name"])
    assert len(ids) == len(set(ids))


def test_every_field_has_a_description(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, inner in schema.get("properties", {}).items():
            assert inner.get("description") or inner.get("const"), f"{name}.{field}"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for node in nodes(document):
        if isinstance(node.get("$ref"), str):
            node_at: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                node_at = node_at[part]


def test_refusals_are_problems_everywhere(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        responses = operation["responses"]
        shared = {"400", "401", "403", "405", "408", "412", "422", "500", "503"}
        assert shared <= set(responses), name
        assert "read_only" in str(responses["403"]) or name.startswith(("GET", "HEAD")), name
        for status, response in responses.items():
            if int(status) >= 400:
                content = response["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ProblemBody"}
                for code, example in content["examples"].items():
                    assert KINDS[code].status == int(status)
                    assert example == {"$ref": f"#/components/examples/{code}"}
                    value = document["components"]["examples"][code]["value"]
                    service_status.ProblemBody.model_validate(value)
        if "{id}" in name:
            assert "404" in responses, name
    assert "HTTPValidationError" not in str(document)
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_examples_are_parsed_by_their_models() -> None:
    seen = 0
    for module in (job_history, service_status, neighbours, jobs_and_datasets):
        for model in vars(module).values():
            config = getattr(model, "model_config", {})
            extra = config.get("json_schema_extra") or {}
            for example in extra.get("examples", ()):
                model.model_validate(example)
                seen += 1
    assert seen >= 25
    for name, example in examples.JOB_SPECS.items():
        JobSpec.model_validate(example["value"])
        assert example["summary"], name


def test_examples_fit_the_document(document: dict[str, Any]) -> None:
    """Check with a validator that knows nothing of the models."""
    parts = document["components"]["schemas"]
    seen = 0
    for name, schema in parts.items():
        for example in schema.get("examples", ()):
            where = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": parts}}
            jsonschema.validate(example, where)
            seen += 1
    assert seen >= 20


def test_answers_fit_the_document(api: RunningApi, document: dict[str, Any]) -> None:
    parts = document["components"]["schemas"]
    for path in ("/v1/jobs", "/v1/datasets", "/v1/workers", "/v1/queue", "/version", "/readyz"):
        operation = document["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(
            api.client.get(path).json(), schema | {"components": {"schemas": parts}}
        )
    problem = api.client.get("/v1/jobs?limit=0").json()
    where = {"$ref": "#/components/schemas/ProblemBody", "components": {"schemas": parts}}
    jsonschema.validate(problem, where)


def test_media_types_are_those_of_the_document(api: RunningApi, document: dict[str, Any]) -> None:
    """Every GET is checked, for resources that exist and for ones that do not."""
    names = ("encoder.safetensors", "README.md", "config.json", "atlas.png")
    done = finished_job(api, dict.fromkeys(names, b"x"))
    ready_dataset(api.store, "media-types")
    seen = set()
    for path, methods in document["paths"].items():
        for name in names if "get" in methods else ():
            real = path.replace("{id}", "media-types" if "datasets" in path else done)
            real = re.sub(r"{\w+}", "x", real.replace("{name}", name))
            answer = api.client.get(real)
            content = methods["get"]["responses"][str(answer.status_code)]["content"]
            media_type = answer.headers["content-type"].partition(";")[0]
            assert media_type in content or "*/*" in content, (real, media_type)
            seen.add(media_type)
    assert len(seen) >= 8


def test_the_page_needs_nothing_from_elsewhere(api: RunningApi, document: dict[str, Any]) -> None:
    answer = api.client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in answer.text
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)
    for _, operation in operations(document):
        assert f'id="{operation["operationId"]}"' in answer.text
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in answer.text


def test_the_service_loads_no_tensors() -> None:
    code = (
        "import sys, service.app, service.state_exporter, service.__main__\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'sklearn', 'pyarrow'}\n"
        "found = heavy & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

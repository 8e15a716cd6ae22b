"""The OpenAPI document: the framework's, with problems and the key added to every route."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.schema_fixes import make_generable, never_null
from service.api.schemas import (
    examples,
    job_evaluation,
    job_history,
    neighbours,
    service_status,
    weight_files,
)
from service.api.schemas import jobs_and_datasets as api_schemas
from service.api.schemas.service_status import ProblemBody
from service.server.auth import SAFE
from service.server.problems import KINDS, MEDIA_TYPE

DESCRIPTION = """\
Turn a folder of unlabeled images into a pretrained encoder with MoCo or SimCLR.

1. `POST /v1/datasets`, then `PUT` its content: an archive, in one or several parts.
2. `POST /v1/jobs` with the dataset's name. Settings you omit get recommended values with reasons.
3. `GET /v1/jobs/{id}/events` follows the job, live with `Accept: text/event-stream`.
4. `GET /v1/jobs/{id}/artifacts` lists the files of the trained encoder.

Every request needs `Authorization: Bearer <key>`. Every error is `application/problem+json` with
a `code` for programs, a `detail` and a `hint` for people, and the `request_id` of the log entry.
Every path with `GET` also has `HEAD`. Unknown query parameters and fields are rejected with 422.
"""
TAGS = [
    {"name": "datasets", "description": "Upload and manage training images."},
    {"name": "jobs", "description": "Submit and control training jobs."},
    {"name": "following", "description": "Events, curves and logs of a job."},
    {"name": "weights", "description": "Upload and manage pretrained weights."},
    {"name": "artifacts", "description": "Checkpoints and downloadable files of a job."},
    {"name": "neighbours", "description": "Nearest-neighbor search with an encoder."},
    {"name": "workers", "description": "Workers and the queue."},
    {"name": "service", "description": "Health, metrics and version of the service."},
]
ALWAYS = (
    *("bad_request", "unauthorized", "scrape_only", "method_not_allowed", "request_timeout"),
    *("precondition_failed", "invalid", "internal", "unavailable"),
)
"""Codes that any request may meet."""


def refused(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these problems."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        response = responses.setdefault(
            kind.status, {"description": "", "content": {MEDIA_TYPE: {"examples": {}}}}
        )
        response["description"] = "; ".join(filter(None, [response["description"], kind.title]))
        example = {"$ref": f"#/components/examples/{code}"}
        response["content"][MEDIA_TYPE]["examples"][code] = example
    return responses


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document of `app`, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            tags=TAGS,
            servers=app.servers,
            routes=app.routes,
        )
        for path in document["paths"].values():
            for method, operation in path.items():
                _complete(operation, changes=method.upper() not in SAFE)
        parts = document["components"]
        parts["examples"] = {code: {"value": _example(code)} for code in KINDS}
        parts["securitySchemes"] = {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "The key in `api.key` in the data folder, or MOCO_API_KEY.",
            }
        }
        document["security"] = [{"key": []}]
        _replace_errors(parts["schemas"])
        # Its route reads the body itself, for it takes images too.
        parts["schemas"]["ProbeRequest"] = neighbours.ProbeRequest.model_json_schema()
        make_generable(document)
        _restore_examples(parts["schemas"])
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], *, changes: bool) -> None:
    """Put the problems in that every operation shares, and their schema into all of them."""
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = never_null(parameter["schema"])
    responses = operation["responses"]
    codes = list(ALWAYS)
    if changes:
        codes += ["read_only", "cross_site"]
    else:
        responses["303"] = {
            "description": "A browser without a session is redirected to the sign-in page."
        }
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        codes += ["bad_json", "too_large", "unsupported_media_type"]
    own = [code for answer in responses.values() for code in _codes_of(answer)]
    for status, answer in refused(*dict.fromkeys([*own, *codes])).items():
        responses[str(status)] = answer
    for answer in responses.values():
        if MEDIA_TYPE in answer.get("content", {}):
            answer["content"][MEDIA_TYPE]["schema"] = {"$ref": "#/components/schemas/ProblemBody"}
    operation["responses"] = dict(sorted(responses.items()))


def _codes_of(answer: dict[str, Any]) -> list[str]:
    """Return the codes of the problems that a response names."""
    return list(answer.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}))


def _replace_errors(schemas: dict[str, Any]) -> None:
    """Replace the framework's errors with our problems."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["ProblemBody"] = problem


def _restore_examples(schemas: dict[str, Any]) -> None:
    """Put back the nulls that the framework drops from examples."""
    modules = (api_schemas, job_evaluation, job_history, service_status, neighbours, weight_files)
    for module in modules:
        for name, model in vars(module).items():
            extra = getattr(model, "model_config", {}).get("json_schema_extra", {})
            if name in schemas and "examples" in extra:
                schemas[name]["examples"] = extra["examples"]


def _example(code: str) -> dict[str, Any]:
    kind = KINDS[code]
    shared = {key: examples.PROBLEM[key] for key in ("instance", "request_id")}
    return {
        "type": f"urn:mocoserve:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "What is wrong, and where.",
        "code": code,
        "hint": kind.hint,
        **shared,
    }

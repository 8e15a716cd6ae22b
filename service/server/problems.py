"""All errors as problem+json (RFC 9457), in one table.

A `Problem` is raised by the HTTP code itself; errors of the use cases, of the store, of the spec
and of the framework are turned into one here, and nowhere else.
"""

import http
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.errors import FieldError, ServiceError, WrongOffset
from service.server.root_path import route_path
from service.store.store_errors import (
    DatasetInUse,
    IdempotencyConflict,
    Misconfigured,
    NameTaken,
    NotFound,
    StoreError,
    StoreUnavailable,
    WrongState,
)
from trainer.schema.errors import SpecError
from trainer.schema.validation import message_of, path_in

MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 20
JOBS_MAX = 100
TEXT_LETTERS_MAX = 400
RETRY_AFTER_S = 2


class Kind(NamedTuple):
    """Status, title and hint shared by all problems of one code."""

    status: int
    title: str
    hint: str


KINDS: dict[str, Kind] = {
    "bad_json": Kind(400, "Malformed body", "Send one JSON object in UTF-8."),
    "bad_cursor": Kind(400, "Invalid cursor", "Use a last_id from a previous page."),
    "bad_header": Kind(400, "Invalid header", "Fix the named header."),
    "bad_request": Kind(400, "Malformed request", "See /docs for the expected format."),
    "unauthorized": Kind(
        401,
        "Authentication required",
        "Send `Authorization: Bearer <key>`; the key is in api.key in the data folder.",
    ),
    "read_only": Kind(403, "Read-only key", "Use the key in api.key to make changes."),
    "scrape_only": Kind(
        403, "Metrics-only key", "Use the key in read.key for reading, in api.key for changes."
    ),
    "cross_site": Kind(403, "Cross-site request", "Use the web page, or send the key."),
    "path_not_allowed": Kind(
        403,
        "Folder not allowed",
        "Add the folder to MOCO_ALLOWED_ROOTS and restart the service, or upload the images.",
    ),
    "not_found": Kind(404, "Not found", "List what exists, or see /docs for all paths."),
    "method_not_allowed": Kind(405, "Method not allowed", "Use a method from the Allow header."),
    "not_acceptable": Kind(
        406,
        "Not acceptable",
        "Accept application/json or text/event-stream.",
    ),
    "request_timeout": Kind(
        408, "Request timeout", "Send it again; an upload continues where it stopped."
    ),
    "wrong_state": Kind(409, "Not possible in this state", "Check the status first."),
    "dataset_not_ready": Kind(
        409,
        "Dataset not ready",
        "Wait until its status is ready; if it failed, see its report.",
    ),
    "dataset_in_use": Kind(
        409, "Dataset in use", "Wait until these jobs have ended, or cancel them first."
    ),
    "weights_in_use": Kind(
        409, "Weights in use", "Wait until these jobs have ended, or cancel them first."
    ),
    "no_encoder": Kind(409, "No encoder yet", "Wait for the job's first checkpoint."),
    "no_evaluation": Kind(409, "No evaluation yet", "Wait for the job's first evaluation."),
    "name_taken": Kind(409, "Name taken", "Choose another name."),
    "wrong_offset": Kind(
        409, "Wrong upload offset", "Continue at the offset in the Upload-Offset header."
    ),
    "upload_busy": Kind(
        409, "Upload in progress", "Wait for the other upload to finish, then continue."
    ),
    "artifact_missing": Kind(
        410, "File missing", "Check the data folder; run the job again to recreate the file."
    ),
    "precondition_failed": Kind(
        412, "Precondition failed", "It has changed: read it again, and send its current ETag."
    ),
    "length_required": Kind(
        411,
        "Length required",
        "Send Content-Length, or size_bytes when the dataset is created.",
    ),
    "too_large": Kind(413, "Too large", "Send less, or raise the limit named in the detail."),
    "unsupported_media_type": Kind(
        415, "Unsupported media type", "Send `Content-Type: application/json`, not compressed."
    ),
    "bad_range": Kind(416, "Invalid range", "Request one range inside the file."),
    "invalid": Kind(422, "Invalid request", "Fix the named fields; see /docs."),
    "no_dataset": Kind(422, "Dataset not found", "Use an id or name from GET /v1/datasets."),
    "bad_spec": Kind(
        422,
        "Spec does not fit the dataset",
        "Change the named field; `?dry_run=true` checks a spec without running it.",
    ),
    "idempotency_conflict": Kind(
        422,
        "Idempotency-Key reused",
        "Use a new Idempotency-Key for a new request.",
    ),
    "size_mismatch": Kind(422, "Size mismatch", "Create the dataset with the correct size_bytes."),
    "sha256_mismatch": Kind(422, "Checksum mismatch", "Upload the file again from the start."),
    "too_many_probes": Kind(
        429, "Too many queued searches", "Wait until one of them is done, then try again."
    ),
    "internal": Kind(
        500, "Internal error", "Report the request id; the service log has the cause."
    ),
    "storage": Kind(500, "Disk error", "Check the disk of the data folder."),
    "unavailable": Kind(
        503, "Job store unavailable", "Try again soon; running jobs are not affected."
    ),
    "not_ready": Kind(503, "Service not ready", "Fix the problem named in the detail."),
    "disk_full": Kind(507, "Disk full", "Free space in the data folder, then continue."),
}


class Problem(Exception):
    """Error response to a request. `code` is a key of `KINDS`."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        jobs: Sequence[str] = (),
    ) -> None:
        super().__init__(detail)
        self.jobs = tuple(jobs)
        self.code, self.detail, self.errors = code, detail, tuple(errors)
        self.kind = KINDS[code]
        self.hint = hint or self.kind.hint
        self.headers = dict(headers or {})

    def response(self, *, path: str, request_id: str) -> Response:
        """Return the response. It is ASCII only, so no text of a user can break it."""
        body: dict[str, Any] = {
            "type": f"urn:mocoserve:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail[:TEXT_LETTERS_MAX],
            "instance": path[:TEXT_LETTERS_MAX],
            "code": self.code,
            "hint": self.hint,
            "request_id": request_id,
        }
        if self.jobs:
            body["jobs"] = list(self.jobs[:JOBS_MAX])
        if self.errors:
            body["errors"] = [error._asdict() for error in self.errors[:ERRORS_MAX]]
        return Response(
            json.dumps(body), self.kind.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def problem_of(error: Exception) -> Problem:
    """Return the answer to `error`; `internal` for one that no table knows."""
    if isinstance(error, Problem):
        return error
    for kind, convert in _CONVERTERS.items():
        if isinstance(error, kind):
            return convert(error)
    return _internal()


def install(app: FastAPI) -> None:
    """Let `app` answer every error of a route with its problem."""
    app.add_exception_handler(Problem, _answer)
    for kind in _CONVERTERS:
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.code == "method_not_allowed":
        problem.headers["Allow"] = ", ".join(_methods(request)) or problem.headers.get("Allow", "")
    return problem.response(path=request.scope["path"], request_id=request.state.request_id)


def _methods(request: Request) -> list[str]:
    """Return every method that any route has for this path."""
    path, methods = route_path(request.scope), set[str]()
    for route in request.app.routes:
        if route.path_regex.match(path):
            methods |= set(route.methods or ())
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _of_service(error: ServiceError) -> Problem:
    headers = {"Upload-Offset": str(error.held_bytes)} if isinstance(error, WrongOffset) else {}
    return Problem(error.code, error.detail, errors=error.errors, hint=error.hint, headers=headers)


def _of_spec(error: SpecError) -> Problem:
    pointers = ["#/" + field.replace(".", "/") for field in (error.field, *error.also)]
    fields = [FieldError(pointer, error.reason) for pointer in pointers]
    detail = f"{pointers[0]}: {error.reason}"
    return Problem("bad_spec", detail, errors=fields, hint=error.next_step)


def _of_store(error: StoreError) -> Problem:
    if isinstance(error, StoreUnavailable):
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return Problem("unavailable", "The job store cannot be reached.", headers=headers)
    if isinstance(error, DatasetInUse):
        return Problem("dataset_in_use", str(error), jobs=error.jobs)
    code = _CODE_OF_STORE.get(type(error))
    return _internal() if code is None else Problem(code, str(error))


def _internal() -> Problem:
    return Problem("internal", "An unexpected error occurred.")


_CODE_OF_STORE: dict[type[StoreError], str] = {
    NotFound: "not_found",
    NameTaken: "name_taken",
    WrongState: "wrong_state",
    IdempotencyConflict: "idempotency_conflict",
    Misconfigured: "not_ready",
}
_CODE_OF_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
}


def _of_http(error: HTTPException) -> Problem:
    """Convert the framework's errors: an unknown path or method, an unreadable body."""
    fallback = "internal" if error.status_code >= http.HTTPStatus.INTERNAL_SERVER_ERROR else ""
    code = _CODE_OF_STATUS.get(error.status_code, fallback or "bad_request")
    detail = {
        "not_found": "No route has this path.",
        "method_not_allowed": "The path exists, but not with this method.",
    }.get(code, str(error.detail))
    return Problem(code, detail, headers=error.headers)


def _of_validation(error: RequestValidationError) -> Problem:
    fields = [
        FieldError(_pointer(row, error.body), message_of(row))
        for row in error.errors()[:ERRORS_MAX]
    ]
    first, more = fields[0], len(error.errors()) - 1
    detail = f"{first.pointer}: {first.detail}" + (f" (and {more} more)" if more else "")
    return Problem("invalid", detail, errors=fields)


def _pointer(error: Mapping[str, Any], body: object) -> str:
    """Return the pointer to the wrong value, without the union members that pydantic adds."""
    where, *parts = error["loc"]
    if where != "body":
        return "/".join([str(where), *(str(part)[:64] for part in parts)])
    path = [part[:64].replace("~", "~0").replace("/", "~1") for part in path_in(body, error, parts)]
    return "#/" + "/".join(path)


_CONVERTERS: dict[type[Exception], Callable[[Any], Problem]] = {
    ServiceError: _of_service,
    RequestValidationError: _of_validation,
    HTTPException: _of_http,
    SpecError: _of_spec,
    StoreError: _of_store,
}

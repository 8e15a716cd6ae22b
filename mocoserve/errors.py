"""Exceptions of the client, as one tree.

ClientError
├── Unreachable          no answer: the server is down, or the address is wrong
├── Damaged              bytes arrived, but they are not the ones that were promised
├── Unusable             something on this side cannot be sent (a missing file, an empty folder)
└── ApiError             the API answered with a problem (RFC 9457)
    ├── NotAuthorised    401
    ├── NotFound         404
    ├── Conflict         409
    ├── Invalid          400, 403, 405, 413, 415, 416, 422
    └── Unavailable      502, 503, 504: the API is up, its store is not

Each has a `title`, a `detail`, and a `hint`: what is wrong, where, and what to do next.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class FieldProblem(BaseModel):
    """One invalid field."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pointer: str = ""
    """JSON pointer into the request body, such as `/optim/lr`."""
    detail: str = ""


class Problem(BaseModel):
    """Body of an error response (RFC 9457). All fields have defaults: a proxy may answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: int
    title: str = "Request rejected"
    detail: str = ""
    code: str = ""
    hint: str = ""
    instance: str = ""
    """Path of the request."""
    request_id: str = ""
    errors: tuple[FieldProblem, ...] = ()
    jobs: tuple[str, ...] = ()
    """Jobs that block the request."""


class ClientError(Exception):
    """Base class of the client's errors."""

    def __init__(self, title: str, *, detail: str = "", hint: str = "") -> None:
        """`title` says what failed, `detail` where, `hint` what to do next."""
        super().__init__(title)
        self.title, self.detail, self.hint = title, detail, hint

    def as_dict(self) -> dict[str, Any]:
        """Return the error as plain JSON values."""
        return {"title": self.title, "detail": self.detail, "hint": self.hint}


class Unreachable(ClientError):
    """The server did not answer."""

    def __init__(self, url: str, *, reason: str) -> None:
        """Describe the failure: the `url` of the server, and the `reason` of the network."""
        super().__init__(
            f"No mocoserve server at {url}",
            detail=reason,
            hint="Start one with `moco up`, or set another address with --url or MOCO_URL.",
        )


class Damaged(ClientError):
    """Received bytes do not match their checksum or size."""


class Unusable(ClientError):
    """A local file or value cannot be sent."""


class ApiError(ClientError):
    """The API answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        """`problem` is the body of the answer."""
        super().__init__(problem.title, detail=problem.detail, hint=problem.hint)
        self.problem = problem

    def as_dict(self) -> dict[str, Any]:
        """The problem as the API sent it."""
        return self.problem.model_dump(mode="json")


class NotAuthorised(ApiError):
    """The key is missing or wrong."""


class NotFound(ApiError):
    """The resource does not exist."""


class Conflict(ApiError):
    """The resource is in the wrong state for this call, or a name is taken."""


class Invalid(ApiError):
    """The request is invalid."""


class Unavailable(ApiError):
    """The API cannot serve requests now."""


_KINDS: dict[int, type[ApiError]] = {
    401: NotAuthorised,
    404: NotFound,
    409: Conflict,
    **dict.fromkeys((400, 403, 405, 413, 415, 416, 422), Invalid),
    **dict.fromkeys((502, 503, 504), Unavailable),
}


def api_error(status: int, body: object) -> ApiError:
    """Return the error for a `status` >= 400 and the decoded JSON `body` (None: no JSON)."""
    fields = body if isinstance(body, dict) else {}
    usable = {key: value for key, value in fields.items() if value is not None}
    try:
        problem = Problem.model_validate({**usable, "status": status})
    except ValueError:
        problem = Problem(status=status)
    if not fields:
        problem = Problem(
            status=status,
            code="foreign",
            title=f"The server returned HTTP {status}",
            detail="The body is not problem+json, so it may not be a mocoserve server.",
            hint="Check the address in --url or MOCO_URL.",
        )
    return _KINDS.get(status, ApiError)(problem)

"""Report of an exception: what is wrong, where, what to do next, and the exit code."""

import json
import os
import sys
import traceback
from typing import NamedTuple

from mocoserve.errors import (
    ApiError,
    ClientError,
    NotAuthorised,
    NotFound,
    Unavailable,
    Unreachable,
)
from mocoserve.plain_text import escaped, escaped_json
from mocoserve.server_address import NoKey, NoServer
from mocoserve.user_config import BadConfig, ConfigError
from service.cli.exit_codes import CommandError, Exit
from service.cli.render import problem_text

_CODES: tuple[tuple[type[Exception], Exit], ...] = (
    (BadConfig, Exit.USAGE),
    (NoServer, Exit.UNREACHABLE),
    (NoKey, Exit.AUTH),
    (NotAuthorised, Exit.AUTH),
    (NotFound, Exit.NOT_FOUND),
    (Unreachable, Exit.UNREACHABLE),
    (Unavailable, Exit.UNREACHABLE),
)

_HINTS: dict[type[ApiError], str] = {
    NotAuthorised: "Set the server's key with MOCO_API_KEY or --key.",
    NotFound: "List what exists: `moco jobs`, `moco dataset ls`, `moco workers`.",
    Unavailable: "Try again in a moment; `moco doctor` looks for the cause.",
}


class Failure(NamedTuple):
    """Report of a failure to the user."""

    title: str
    code: Exit
    detail: str = ""
    hint: str = ""
    errors: tuple[tuple[str, str], ...] = ()
    """(pointer, detail) of each field."""
    request_id: str = ""
    jobs: tuple[str, ...] = ()
    """Jobs that block the request."""


def explain(error: Exception) -> Failure:
    """Return the report of `error`; an unexpected one is reported as our own defect."""
    if isinstance(error, ApiError):
        return _of_problem(error)
    if isinstance(error, CommandError | ClientError | ConfigError):
        code = error.code if isinstance(error, CommandError) else _code(error)
        return Failure(error.title, code, error.detail, error.hint)
    if isinstance(error, TimeoutError) and not error.errno:
        hint = "It is still running. Check again later, or use a longer --timeout."
        return Failure(str(error), Exit.UNFINISHED, hint=hint)
    if isinstance(error, OSError):
        return Failure(
            f"{error.strerror or error}",
            Exit.ERROR,
            detail=str(error.filename or ""),
            hint="Check the path, its permissions and the free disk space.",
        )
    return Failure(
        "Internal error in moco",
        Exit.ERROR,
        detail=f"{type(error).__name__}: {error}",
        hint="Please report this with the output of the same command under MOCO_DEBUG=1.",
    )


def report(error: Exception, *, as_json: bool) -> Exit:
    """Print the failure on stderr and return its exit code."""
    if os.environ.get("MOCO_DEBUG"):
        traceback.print_exception(error)
    failure = explain(error)
    text = _as_json(failure) if as_json else escaped("\n".join(_lines(failure)), keep="\n\t")
    print(text, file=sys.stderr, flush=True)
    return failure.code


def _of_problem(error: ApiError) -> Failure:
    problem = error.problem
    code = problem_text.code_of(problem) or _code(error)
    hint = problem_text.hint_of(problem) or _HINTS.get(type(error), "")
    fields = tuple((field.pointer, field.detail) for field in problem.errors)
    title, detail = problem_text.title_of(problem), problem_text.detail_of(problem)
    return Failure(title, code, detail, hint, fields, problem.request_id, problem.jobs)


def _code(error: Exception) -> Exit:
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.ERROR)


def _lines(failure: Failure) -> list[str]:
    lines = [f"error: {failure.title}"]
    if failure.detail and failure.detail != failure.title:
        lines.append(f"  {failure.detail}")
    fields = [f"  {pointer or '/'}: {detail}" for pointer, detail in failure.errors]
    lines += [line for line in fields if line not in lines]  # a lone one is the detail already
    if failure.hint:
        lines.append(f"  next: {failure.hint}")
    if failure.request_id and failure.code is Exit.ERROR:
        lines.append(f"  request: {failure.request_id}")
    return lines


def _as_json(failure: Failure) -> str:
    fields = [{"pointer": pointer, "detail": detail} for pointer, detail in failure.errors]
    report = {**failure._asdict(), "object": "error", "code": int(failure.code), "errors": fields}
    return escaped_json(json.dumps(report, ensure_ascii=False))

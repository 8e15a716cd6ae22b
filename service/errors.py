"""Errors of the use cases: what is wrong, where, and what to do next. None of them knows HTTP."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Code = Literal[
    "artifact_missing",
    "dataset_not_ready",
    "disk_full",
    "invalid",
    "name_taken",
    "no_dataset",
    "no_encoder",
    "no_evaluation",
    "path_not_allowed",
    "sha256_mismatch",
    "size_mismatch",
    "storage",
    "too_large",
    "too_many_probes",
    "upload_busy",
    "weights_in_use",
    "wrong_offset",
    "wrong_state",
]


class FieldError(NamedTuple):
    """One invalid field."""

    pointer: str
    """`#/optim/lr` in the body (RFC 6901), or `query/limit`, `path/id`, `header/range`."""
    detail: str


class ServiceError(Exception):
    """Error of a use case. `detail` says what is wrong and where."""

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors = code, detail, tuple(errors)
        self.hint = hint
        """Next step, where it differs from the usual one of the code."""


class WrongOffset(ServiceError):
    """An upload must continue at `held_bytes`."""

    def __init__(self, *, held_bytes: int, offset: int) -> None:
        detail = f"{held_bytes} bytes received; offset {offset} was sent."
        super().__init__("wrong_offset", detail)
        self.held_bytes = held_bytes


def invalid(pointer: str, detail: str, *, code: Code = "invalid") -> ServiceError:
    """Return the error for one wrong field."""
    return ServiceError(code, f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])

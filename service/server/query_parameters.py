"""Refusal of query parameters that a described route does not have."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

from fastapi.dependencies.models import Dependant
from starlette.datastructures import QueryParams

from service.errors import FieldError
from service.server.problems import Problem


class Parameters:
    """The query parameters and headers that a route declares, its dependencies' included."""

    def __init__(self, dependant: Dependant) -> None:
        fields = [field for each in _with_inner(dependant) for field in each.query_params]
        self.names = sorted(field.alias for field in fields)
        self._repeatable = {
            field.alias for field in fields if _holds_list(field.field_info.annotation)
        }
        headers = [field.alias for each in _with_inner(dependant) for field in each.header_params]
        self.takes_if_match = "if-match" in headers

    def check(self, query: QueryParams) -> None:
        """Raise Problem `invalid` for a parameter that is unknown, or given twice."""
        counts = Counter(name for name, _ in query.multi_items())
        errors = [
            FieldError(f"query/{name[:64]}", self._words(name))
            for name, count in counts.items()
            if name not in self.names or (count > 1 and name not in self._repeatable)
        ]
        if errors:
            detail = f"{errors[0].pointer}: {errors[0].detail}"
            raise Problem("invalid", detail, errors=errors)

    def _words(self, name: str) -> str:
        if name in self.names:
            return "Duplicate parameter."
        if not self.names:
            return "Unknown parameter; this path has none."
        return f"Unknown parameter; this path has {', '.join(self.names)}."


def _with_inner(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for inner in dependant.dependencies:
        yield from _with_inner(inner)


def _holds_list(annotation: Any) -> bool:  # noqa: ANN401  # any annotation
    return get_origin(annotation) is list or any(map(_holds_list, _arguments(annotation)))


def _arguments(annotation: Any) -> Iterable[Any]:  # noqa: ANN401  # any annotation
    return () if get_origin(annotation) is None else get_args(annotation)

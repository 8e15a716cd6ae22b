"""Iteration over lists that the store gives in pages."""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from service.store.records import Page

PAGE_ROWS = 100


class Identified(Protocol):
    """Record with an id."""

    @property
    def id(self) -> str:
        """Id that the next page starts after."""
        ...


Row = TypeVar("Row", bound=Identified)


def each_row(page_after: Callable[[str | None], Page[Row]]) -> Iterator[Row]:
    """Yield the rows of all pages; `page_after` returns the page behind an id (None: the first)."""
    after, has_more = None, True
    while has_more:
        page = page_after(after)
        yield from page.data
        after, has_more = (page.data[-1].id if page.data else None), page.has_more

"""Entries and refusals of an archive, as its reader lists them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainer.data.readers.items import BadFile, Entry, Limits, Listing
from trainer.schema.errors import DataError


@dataclass(frozen=True)
class Lister:
    """Opens one kind of archive and lists it."""

    opened: Callable[[Path, Limits], AbstractContextManager[Listing]]

    def contents(self, path: Path, limits: Limits | None = None) -> dict[str, bytes]:
        """Return the bytes of each good entry, loaded before the next one is asked for."""
        with self.opened(path, limits or Limits()) as listing:
            entries = listing.entries()
            return {entry.name: entry.load() for entry in entries if isinstance(entry, Entry)}

    def lines(self, path: Path) -> dict[str, str]:
        """Return the detail of each entry that is left out."""
        with self.opened(path, Limits()) as listing:
            return {bad.name: bad.detail for bad in listing.entries() if isinstance(bad, BadFile)}

    def refusal(self, path: Path, limits: Limits | None = None) -> str:
        """Return the reason for which the archive is refused, which has a next step."""
        with pytest.raises(DataError) as caught:
            self.contents(path, limits)
        assert caught.value.next_step
        return caught.value.detail

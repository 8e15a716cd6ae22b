"""Contract between an ingest and the modality of its rows, which is an argument of the ingest.

Each modality has one object of it: INGEST in `trainer.modalities.<name>.ingest`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, Self

from trainer.data.formats import FileFormats
from trainer.data.pack.rows_writer import RowsWriter
from trainer.data.readers.items import Item
from trainer.data.rows import Layout, Row
from trainer.data.spec import IngestSpec


class RowMaker(Protocol[Row]):
    """Makes the rows of one ingest: decodes items, and opens the files that rows go to."""

    def decode(self, item: Item) -> Row:
        """Return the row of an item, called in several threads. Raises BadRow or DataError."""

    def open_writer(self, folder: Path, layout: Layout) -> RowsWriter[Row]:
        """Return a writer of rows of one layout, in a folder that it makes."""

    def second_pass(self, rows: RowsWriter[Row]) -> Self | None:
        """Return the maker of a second pass over the source, which replaces these rows.

        None: they are kept. A modality needs it if it must have seen all values to keep any.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestModality(Generic[Row]):
    """A modality as an ingest sees it."""

    name: str
    """Its name in `pack.json`."""
    formats: FileFormats
    row_maker: Callable[[IngestSpec], AbstractContextManager[RowMaker[Row]]]
    """Opens the maker before the threads that decode start; it is closed after they end."""
    write_preview: Callable[[Path, IngestSpec], None]
    """Writes the preview into the folder of a pack. Raises SpecError where there is none."""

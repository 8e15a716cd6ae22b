"""Contract of rows that are in no pack: those that `moco embed` reads, and queries that are sent.

They become what the network got while training, by the steps that the dataset went through.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.data.formats import FileFormats
from trainer.data.pack.format import Pack
from trainer.data.readers.items import Item
from trainer.modalities.base import Raw
from trainer.modalities.registry import part_of
from trainer.nn.views import View

Row = TypeVar("Row")
Query = TypeVar("Query")


class Reader(Protocol[Row]):
    """Reads rows for one downloaded encoder."""

    @property
    def formats(self) -> FileFormats:
        """Files that hold such rows."""

    def opened(self) -> AbstractContextManager[None]:
        """Return the surroundings in which rows are decoded."""

    def decode(self, item: Item) -> Row:
        """Return a row, called in several threads. Raises BadRow."""

    def view(self, rows: list[Row], device: torch.device) -> View:
        """Return rows as the network takes them, without randomness."""


class Unpacked(Protocol[Row, Query]):
    """Rows in no pack. One object of each modality is `UNPACKED` in its module `unpacked`."""

    def encoder(
        self, folder: Path, *, config: dict[str, Any], preprocess: dict[str, Any]
    ) -> tuple[nn.Module, Reader[Row]]:
        """Return the network of a folder of artifacts, without its weights, and its reader.

        Raises KeyError, TypeError, ValueError, IndexError or AttributeError where the files are of
        another kind.
        """

    def query(self, path: Path, pack: Pack) -> Query:
        """Read a query that was sent, as a row of the dataset. Raises BadProbe."""

    def raw(self, query: Query, pack: Pack, device: torch.device) -> Raw:
        """Return a query as a batch of one row."""

    def picture(self, query: Query, pack: Pack) -> NDArray[np.uint8] | None:
        """Return a query for display, u8 [height, width, 3]; None if it is no picture."""

    def text(self, query: Query) -> str | None:
        """Return the text of a query; None if it is no text."""


def load_unpacked(modality: str) -> Unpacked[Any, Any]:
    """Return `trainer.modalities.<name>.unpacked.UNPACKED`."""
    return cast(Unpacked[Any, Any], part_of(modality, "unpacked").UNPACKED)

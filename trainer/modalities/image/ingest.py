"""Images as an ingest sees them: their file formats, and how files become rows of a pack."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from trainer.data.formats import ArrayFormat, FileFormats, TableFormat, Words
from trainer.data.modality import IngestModality, RowMaker
from trainer.data.pack.rows_writer import RowsWriter
from trainer.data.readers.items import Item
from trainer.data.rows import Layout
from trainer.data.spec import IngestSpec
from trainer.modalities.image import arrays
from trainer.modalities.image.decode import decode_content, strict_pillow
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.formats.magic import SUFFIXES, describe, format_of
from trainer.modalities.image.idx import IdxFormat
from trainer.modalities.image.jpeg_rows import JPEG_CHANNELS, as_jpeg
from trainer.modalities.image.masks import with_mask
from trainer.modalities.image.pixels_writer import ImageRowsWriter
from trainer.modalities.image.wide_values import Extent, kept_in_16_bits

IMAGE_FORMATS = FileFormats(
    words=Words(one="image", a="an image", many="images", content="pixels"),
    suffixes=SUFFIXES,
    format_of=format_of,
    describe=describe,
    arrays=ArrayFormat(arrays.images_in, arrays.HINT),
    tables=TableFormat(
        ("image", "img", "picture", "photo"),
        feature="Image",
        hint="Send parquet files with a column `image` of bytes and path, as Hugging Face writes "
        "them.",
    ),
    datasets=(IdxFormat(),),
    sources_hint="Send a folder, zip, tar (.gz, .bz2, .xz, .zst), npz, npy, parquet or idx-ubyte "
    "file of images.",
)


@dataclass(frozen=True, slots=True)
class ImageRowMaker:
    """Decodes images and brings them to what is kept."""

    spec: IngestSpec
    extent: Extent | None = None
    """Extent of the wide values of all rows; None: such rows are only measured."""

    def decode(self, item: Item) -> Decoded:
        """Return the row of an image, with its mask and its further pages. Raises BadRow."""
        row = decode_content(item.content(), self.spec)
        if item.mask is not None:
            row = with_mask(row, item.mask)
        return replace(self._kept(row), more=tuple(map(self._kept, row.more)))

    def open_writer(self, folder: Path, layout: Layout) -> ImageRowsWriter:
        """Return a writer of images of one layout."""
        return ImageRowsWriter(folder, layout, spec=self.spec, extent=self.extent)

    def second_pass(self, rows: RowsWriter[Decoded]) -> Self | None:
        """Return a maker that knows the extent of wide values, if these were only measured."""
        assert isinstance(rows, ImageRowsWriter)
        if rows.layout.kind != "wide" or self.extent is not None:
            return None
        return replace(self, extent=rows.measured or Extent(0.0, 0.0))

    def _kept(self, row: Decoded) -> Decoded:
        if row.kind == "wide" and self.extent is not None:
            row = kept_in_16_bits(row, self.extent)
        is_plain = row.kind == "uint8" and row.channels in JPEG_CHANNELS
        return as_jpeg(row) if is_plain and self.spec.store_as == "jpeg" else row


@contextmanager
def _row_maker(spec: IngestSpec) -> Iterator[RowMaker[Decoded]]:
    with strict_pillow():
        yield ImageRowMaker(spec)


def _write_preview(folder: Path, spec: IngestSpec) -> None:
    # It is the one part that needs torch, so it is loaded when all checks have passed.
    from trainer.modalities.image.preview import write_preview  # noqa: PLC0415

    write_preview(folder, seed=spec.seed)


INGEST = IngestModality(
    name="image", formats=IMAGE_FORMATS, row_maker=_row_maker, write_preview=_write_preview
)
"""The part of the modality that an ingest takes."""

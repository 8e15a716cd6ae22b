"""Writes a pack: rows of each layout apart, and in the end those of the most common one."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.labels.classes import ClassNames
from trainer.data.pack.format import COUNTS, META, MODALITY, REPORT, VERSION, manifest_sha256
from trainer.data.pack.rows_writer import HashedFile, Layout, RowsWriter
from trainer.data.pack.wide_values import Extent
from trainer.data.readers.items import KEPT, BadFile, Item
from trainer.data.rows import Decoded
from trainer.data.spec import USUAL, IngestOptions
from trainer.modalities.image.raster import stored_filter
from trainer.modalities.image.values import mapping_of, moments, stored, value_warnings
from trainer.schema.choices import StoredAs
from trainer.schema.events import DatasetFacts, DataWarning, FileRecord, ValueMapping
from trainer.util.atomic_files import record_of, sync_folder
from trainer.util.failpoints import failpoint

AGREED = 0.9
"""Fraction of rows that must suggest the same window before it is reported."""


class PackWriter:
    """Writer of one pack, in a temporary folder. The pack appears with `publish`."""

    def __init__(
        self,
        folder: Path,
        store_as: StoredAs = "pixels",
        *,
        options: IngestOptions = USUAL,
    ) -> None:
        """`folder` is the pack to be; it is built in `<folder>.tmp` beside it."""
        self._stored_as, self._options = store_as, options
        self._folder = folder
        self.building = folder.with_name(folder.name + ".tmp")
        self._parts: dict[Layout, RowsWriter] = {}
        self.extent: Extent | None = None
        """Extent of the wide values of all rows, when known."""
        self._begin()

    def _begin(self) -> None:
        shutil.rmtree(self.building, ignore_errors=True)
        self.building.mkdir(parents=True)
        self.bad_files = self.duplicates = 0
        self.first_bad: BadFile | None = None
        self._report = HashedFile(self.building / REPORT)

    @property
    def rows(self) -> int:
        """Rows of all layouts."""
        return sum(part.rows for part in self._parts.values())

    def add(self, rows: Sequence[tuple[Item, Decoded]]) -> None:
        """Append rows."""
        by_layout: dict[Layout, list[tuple[Item, Decoded]]] = {}
        for item, decoded in rows:
            layout = Layout(decoded.kind, decoded.channels)
            by_layout.setdefault(layout, []).append((item, decoded))
        for layout, some in by_layout.items():
            self._part(layout).add(some)
        failpoint("ingest.mid_write")

    def report(self, bad: BadFile) -> None:
        """Report a file that was rejected or stored only in part."""
        if bad.reason == "duplicate":
            self.duplicates += 1
        elif bad.reason not in KEPT:
            self.bad_files += 1
            self.first_bad = self.first_bad or bad
        line = {"name": bad.name, "reason": bad.reason, "detail": bad.detail}
        self._report.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def chosen(self) -> RowsWriter | None:
        """The rows of the most common layout, of equally common ones the first; None without."""
        return max(self._parts.values(), key=lambda part: part.rows, default=None)

    def unmapped(self) -> Extent | None:
        """The extent of wide values that were only measured, if they are the most common kind."""
        part = self.chosen()
        if part is None or part.layout.kind != "wide" or self.extent is not None:
            return None
        return part.extent or Extent(0.0, 0.0)

    def restart(self, extent: Extent) -> None:
        """Discard all rows and the report, before the source is read again."""
        self._close()
        self.extent = extent
        self._parts.clear()
        self._begin()

    def leave_out_others(self) -> list[BadFile]:
        """Report the rows that are not of the most common layout, and forget them."""
        most = self.chosen()
        left_out = []
        for layout, part in list(self._parts.items()):
            if most is None or part is most:
                continue
            part.abandon()
            reason = "other_depth" if layout.kind != most.layout.kind else "other_channels"
            detail = f"{layout.words()}; most files have {most.layout.words()}"
            left_out += [BadFile(name, reason, detail) for name in part.names()]
            shutil.rmtree(part.folder)
            del self._parts[layout]
        for bad in left_out:
            self.report(bad)
        return left_out

    def finish(
        self,
        names: ClassNames,
        *,
        value_range: str = "auto",
        warnings: Sequence[DataWarning] = (),
    ) -> DatasetFacts:
        """Write and fsync all files, `pack.json` last. `names` are those of the items' labels.

        `value_range` is auto, full or LO:HI. One layout with rows must remain.
        """
        (part,) = self._parts.values()
        index, labels, records = part.finish(names)
        mapping = mapping_of(part.counts, part.mapping(self.extent), asked=value_range)
        part.move_to(self.building)
        records.append(self._report.close())
        facts = self._facts(part, index, labels.classes, records, mapping)
        told = [
            *warnings,
            *labels.warnings,
            *_left_out(part),
            *_suggested(part),
            *value_warnings(part.counts, mapping),
        ]
        facts = facts.model_copy(update={"warnings": tuple(told)})
        meta = {
            "version": VERSION,
            "modality": MODALITY,
            "columns": part.columns(),
            "facts": facts.model_dump(mode="json"),
            "files": {record.name: record.model_dump(exclude={"name"}) for record in records},
        }
        meta_file = HashedFile(self.building / META)
        meta_file.write(json.dumps(meta, indent=1, sort_keys=True).encode())
        meta_file.close()
        return facts

    def publish(self) -> tuple[FileRecord, ...]:
        """Publish the pack atomically."""
        records = tuple(record_of(path) for path in sorted(self.building.iterdir()))
        sync_folder(self.building)
        shutil.rmtree(self._folder, ignore_errors=True)
        failpoint("ingest.pre_rename")
        self.building.rename(self._folder)
        sync_folder(self._folder.parent)
        return records

    def abandon(self, *, report: Path | None = None) -> None:
        """Leave nothing behind, except the report in the file `report`, if it has lines."""
        self._close()
        written = self.building / REPORT
        if report is not None and written.stat().st_size:
            written.replace(report)
            sync_folder(report.parent)
        shutil.rmtree(self.building, ignore_errors=True)

    def _close(self) -> None:
        self._report.abandon()
        for part in self._parts.values():
            part.abandon()

    def _part(self, layout: Layout) -> RowsWriter:
        if layout not in self._parts:
            folder = self.building / f"{layout.kind}-{layout.channels}"
            self._parts[layout] = RowsWriter(folder, layout, self._stored_as)
        return self._parts[layout]

    def _facts(
        self,
        part: RowsWriter,
        index: NDArray[np.void],
        classes: tuple[str, ...],
        records: list[FileRecord],
        mapping: ValueMapping,
    ) -> DatasetFacts:
        sides = np.stack([index["height"], index["width"]]).astype(np.int64)
        short, long = sides.min(axis=0), sides.max(axis=0)
        low, high = stored(mapping)
        mean, std = moments(part.counts, low=low, high=high)
        hashes = {
            record.name: record.sha256 for record in records if record.name not in {REPORT, COUNTS}
        }
        return DatasetFacts(
            rows=part.rows,
            bad_files=self.bad_files,
            duplicates=self.duplicates,
            labels=classes,
            label_rows=_rows_of(index["label"], classes=len(classes)),
            side_px_min=int(short.min()),
            side_px_median=int(np.sort(short)[len(short) // 2]),
            side_px_max=int(long.max()),
            same_size=bool((sides == sides[:, :1]).all()),
            channels=part.layout.channels,
            dtype="uint8" if part.layout.dtype == "uint8" else "uint16",
            values=mapping,
            mean=mean,
            std=std,
            splits=part.split_rows(),
            size_bytes=sum(record.size_bytes for record in records),
            stored_as=self._stored_as,
            stored_side_px=self._options.side_px_max,
            shrink_filter=stored_filter(
                self._options.shrink_filter, dtype=part.layout.dtype, channels=part.layout.channels
            ),
            alpha=self._options.alpha,
            sha256=manifest_sha256(hashes, classes, values=mapping),
            sides_sent=part.sides.histogram(),
            truncated_kept=part.truncated_kept,
        )


def _left_out(part: RowsWriter) -> list[DataWarning]:
    """Warnings for parts of files that rows do not hold."""
    counts = (
        (
            "channels_left_out",
            part.channels_left_out,
            f"files have more than the {part.layout.channels} channels that rows keep",
            "To keep all of them add the dataset with their number (--channels).",
        ),
        (
            "pages_left_out",
            part.pages_left_out,
            "pages of files with several pages are left out",
            "To make a row of each add the dataset with --pages rows.",
        ),
        (
            "non_finite",
            part.non_finite,
            "pixels are no numbers and became the smallest value",
            "State a range that begins above it (--range LO:HI) if they should not count.",
        ),
    )
    return [
        DataWarning(code=code, message=f"{count:,} {message}.", hint=hint)
        for code, count, message, hint in counts
        if count
    ]


def _rows_of(labels: NDArray[np.int32], *, classes: int) -> tuple[int, ...]:
    """Return how many rows each class has; a label of -1 is none."""
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    return tuple(int(count) for count in counts)


def _suggested(part: RowsWriter) -> list[DataWarning]:
    """Return what files say of their own values and pages, where enough of them agree."""
    found = []
    for window, rows in part.windows.most_common(1):
        if rows >= AGREED * part.rows:
            low, high = (f"{value:g}" for value in window)
            message = f"{rows:,} of {part.rows:,} files suggest to show the values {low} to {high}."
            hint = f"It is not applied. To see them so: --range {low}:{high}, or views.window."
            found.append(DataWarning(code="suggested_window", message=message, hint=hint))
    for axes, rows in part.axes.most_common(1):
        message = f"{rows:,} files say that their pages are {axes}."
        hint = "A row is one page: with --pages rows each of them, without it the first."
        found.append(DataWarning(code="hyperstacks", message=message, hint=hint))
    return found

"""Writes a pack: rows of each layout apart, and in the end those of the most common one."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from trainer.data.labels.classes import ClassNames
from trainer.data.modality import RowMaker
from trainer.data.pack.format import META, REPORT, VERSION, manifest_sha256
from trainer.data.pack.rows_writer import HashedFile, RowsWriter
from trainer.data.readers.items import KEPT, BadFile, Item
from trainer.data.rows import Layout, Row
from trainer.schema.events import DatasetFacts, DataWarning, FileRecord
from trainer.util.atomic_files import record_of, sync_folder
from trainer.util.failpoints import failpoint


class PackWriter(Generic[Row]):
    """Writer of one pack, in a temporary folder. The pack appears with `publish`."""

    def __init__(self, folder: Path, maker: RowMaker[Row], *, modality: str) -> None:
        """`folder` is the pack to be; it is built in `<folder>.tmp` beside it."""
        self.maker, self._modality = maker, modality
        self._folder = folder
        self.building = folder.with_name(folder.name + ".tmp")
        self._parts: dict[Layout, RowsWriter[Row]] = {}
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

    def add(self, rows: Sequence[tuple[Item, Row]]) -> None:
        """Append rows."""
        by_layout: dict[Layout, list[tuple[Item, Row]]] = {}
        for item, row in rows:
            by_layout.setdefault(row.layout, []).append((item, row))
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

    def chosen(self) -> RowsWriter[Row] | None:
        """Return the rows of the most common layout, the first of several; None without rows."""
        return max(self._parts.values(), key=lambda part: part.rows, default=None)

    def restart(self, maker: RowMaker[Row]) -> None:
        """Discard all rows and the report, before the source is read again."""
        self._close()
        self.maker = maker
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

    def finish(self, names: ClassNames, *, warnings: Sequence[DataWarning] = ()) -> DatasetFacts:
        """Write and fsync all files, `pack.json` last. `names` are those of the items' labels.

        One layout with rows must remain.
        """
        (part,) = self._parts.values()
        labels, records = part.finish(names)
        part.move_to(self.building)
        records.append(self._report.close())
        facts = self._facts(part, labels.classes, records).model_copy(
            update={"warnings": (*warnings, *labels.warnings, *part.warnings())}
        )
        meta = {
            "version": VERSION,
            "modality": self._modality,
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

    def _part(self, layout: Layout) -> RowsWriter[Row]:
        if layout not in self._parts:
            folder = self.building / f"{layout.kind}-{layout.channels}"
            self._parts[layout] = self.maker.open_writer(folder, layout)
        return self._parts[layout]

    def _facts(
        self, part: RowsWriter[Row], classes: tuple[str, ...], records: list[FileRecord]
    ) -> DatasetFacts:
        unhashed = {REPORT, *part.derived}
        hashes = {record.name: record.sha256 for record in records if record.name not in unhashed}
        return DatasetFacts(
            modality=self._modality,
            rows=part.rows,
            bad_files=self.bad_files,
            duplicates=self.duplicates,
            labels=classes,
            label_rows=_rows_of(part.index["label"], classes=len(classes)),
            splits=part.split_rows(),
            timed_rows=part.timed_rows(),
            paired_rows=part.paired_rows(),
            size_bytes=sum(record.size_bytes for record in records),
            sha256=manifest_sha256(hashes, classes, identity=part.identity()),
            **part.facts(),
        )


def _rows_of(labels: NDArray[np.int32], *, classes: int) -> tuple[int, ...]:
    """Return how many rows each class has; a label of -1 is none."""
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    return tuple(int(count) for count in counts)

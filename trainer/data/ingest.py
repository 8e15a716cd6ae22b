"""Ingest: decode a folder or an archive into a pack and report files that fail."""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic

from trainer.data.formats import Words
from trainer.data.labels.classes import ClassNames
from trainer.data.modality import IngestModality
from trainer.data.pack.format import REPORT
from trainer.data.pack.writer import PackWriter
from trainer.data.readers.detect import ReadOptions, open_source
from trainer.data.readers.folder import Follow
from trainer.data.readers.items import BadFile, Item, Limits, Source
from trainer.data.rows import BadRow, Row
from trainer.data.spec import IngestSpec
from trainer.schema.errors import DataError, SpecError, StorageError
from trainer.schema.events import (
    DatasetFacts,
    DataWarning,
    Ended,
    Event,
    Ingesting,
    Logged,
    Published,
)
from trainer.util.atomic_files import FULL_DISK

Emit = Callable[[Event], None]
CHUNK_ITEMS, CHUNK_BYTES = 64, 4 << 20
"""Chunk that one thread decodes: large enough for a cheap hand-over, small enough to hold."""
PROGRESS_EVERY_S = 0.5
THREADS_MAX = 16


class IngestStopped(Exception):
    """Ingest stopped by `should_stop`; no files were left behind."""


@dataclass(frozen=True, slots=True)
class DecodedItem(Generic[Row]):
    """An item, its row, and the hash that equal rows share."""

    item: Item
    row: Row
    digest: bytes


@dataclass(slots=True)
class Progress:
    """Progress events of the ingest, at most two per second."""

    emit: Emit
    bytes_total: int
    bytes_done: int = 0
    emitted_at_s: float = field(default_factory=time.monotonic)

    def advance(self, size_bytes: int, writer: PackWriter[Row], *, now: bool = False) -> None:
        """Count the bytes of the source that are done."""
        self.bytes_done += size_bytes
        if not now and time.monotonic() - self.emitted_at_s < PROGRESS_EVERY_S:
            return
        self.emitted_at_s = time.monotonic()
        self.emit(
            Ingesting(
                rows_ok=writer.rows,
                rows_bad=writer.bad_files + writer.duplicates,
                bytes_done=min(self.bytes_done, self.bytes_total),
                bytes_total=self.bytes_total,
            )
        )


def ingest(
    spec: IngestSpec,
    *,
    modality: IngestModality[Row],
    out: Path,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> DatasetFacts:
    """Write the pack `out/pack` of `spec.source`, atomically.

    If the source is at fault, `out/report.jsonl` lists the faults by file. The pack is a pure
    function of the source and the spec. Emits Ingesting and Published. Raises DataError where no
    training set can come of it, StorageError on a full disk, IngestStopped.
    """
    try:
        with modality.row_maker(spec) as maker:
            writer = PackWriter(out / "pack", maker, modality=modality.name)
            try:
                return _Ingest(spec, modality, writer, emit, should_stop).run()
            except DataError:
                writer.abandon(report=out / REPORT)
                raise
            except BaseException:
                writer.abandon()
                raise
    except OSError as error:
        if error.errno in FULL_DISK:
            raise StorageError(f"The pack could not be written: {error.strerror}.") from error
        raise


def run_ingest(
    spec: IngestSpec,
    *,
    modality: IngestModality[Row],
    out: Path,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> Ended:
    """Run an ingest as a job: return how it ended, with the facts. Raises TrainerError."""
    try:
        facts = ingest(spec, modality=modality, out=out, emit=emit, should_stop=should_stop)
    except IngestStopped:
        return Ended(outcome="stopped", code="stopped", message="The ingest was stopped.")
    message = f"{facts.rows} rows, {facts.bad_files} rejected files, {facts.duplicates} duplicates."
    return Ended(outcome="succeeded", message=message, facts=facts)


@dataclass(frozen=True, slots=True)
class Passed:
    """Findings of one pass over the source besides its rows."""

    reasons: Counter[str]
    """Number of rejected files per reason."""
    classes: ClassNames
    warnings: list[DataWarning]


@dataclass(frozen=True, slots=True)
class _Ingest(Generic[Row]):
    """One ingest, into the writer of its pack."""

    spec: IngestSpec
    modality: IngestModality[Row]
    writer: PackWriter[Row]
    emit: Emit
    should_stop: Callable[[], bool]

    def run(self) -> DatasetFacts:
        """Read the source, once or twice, and publish the pack."""
        writer, limits = self.writer, Limits.of(self.spec).started()
        passed = self._read(limits)
        rows = writer.chosen()
        if rows is not None and (maker := writer.maker.second_pass(rows)) is not None:
            writer.restart(maker)
            passed = self._read(limits)
        passed.reasons.update(bad.reason for bad in writer.leave_out_others())
        self._check_rows(passed.reasons)
        facts = writer.finish(passed.classes, warnings=passed.warnings)
        self._preview()
        self.emit(Published(folder="pack", files=writer.publish()))
        return facts

    def _read(self, limits: Limits) -> Passed:
        """Read the source once, from its first row to its last."""
        path = Path(self.spec.source)
        options = ReadOptions(
            self.modality.formats,
            self.spec.format,
            masks=self.spec.masks,
            follow=Follow(self.spec.follow_links, tuple(map(Path, self.spec.roots))),
            scratch=self.writer.building,
        )
        with open_source(path, limits, options) as source:
            progress = Progress(self.emit, source.bytes_total)

            def check_end() -> None:
                limits.check_time(path.name)
                if self.should_stop():
                    raise IngestStopped

            reasons = self._write_rows(source, progress, check_end)
            progress.advance(0, self.writer, now=True)
            return Passed(reasons, source.classes, source.warnings)

    def _write_rows(
        self, source: Source, progress: Progress, check_end: Callable[[], None]
    ) -> Counter[str]:
        """Write rows in the source's order; return how many files were left out for which reason.

        `check_end` is called between chunks, and raises what ends the ingest.
        """
        names_by_digest: dict[bytes, str] = {}
        reasons: Counter[str] = Counter()
        for chunk in decoded_chunks(source.items, self.writer.maker.decode):
            check_end()
            kept = []
            for result in chunk:
                bad = (
                    result
                    if isinstance(result, BadFile)
                    else self._duplicate(result, names_by_digest)
                )
                if bad is not None:
                    self.writer.report(bad)
                    reasons[bad.reason] += 1
                elif not isinstance(result, BadFile):
                    kept.append((result.item, result.row))
                    for reason, detail in result.row.notes():
                        self.writer.report(BadFile(result.item.name, reason, detail))
            if kept:
                self.writer.add(kept)
            progress.advance(sum(_size_bytes(result) for result in chunk), self.writer)
        return reasons

    def _duplicate(
        self, decoded: DecodedItem[Row], names_by_digest: dict[bytes, str]
    ) -> BadFile | None:
        """Return the report of a row that was there before; else remember it."""
        name = decoded.item.name
        first = names_by_digest.setdefault(decoded.digest, name)
        if first is name:
            return None
        content = self.modality.formats.words.content
        return BadFile(name, "duplicate", f"the same {content} as {first}")

    def _check_rows(self, reasons: Counter[str]) -> None:
        """Raise DataError if there are no rows to train on, or they cannot be kept as asked."""
        writer, words = self.writer, self.modality.formats.words
        if writer.rows < 2:
            raise _too_few(Path(self.spec.source).name, writer, reasons, words)
        rows = writer.chosen()
        if rows is not None:
            rows.check()

    def _preview(self) -> None:
        try:
            self.modality.write_preview(self.writer.building, self.spec)
        except SpecError as error:
            self.emit(Logged(level="warning", message=f"No preview of views: {error.detail}"))


def _size_bytes(result: DecodedItem[Row] | BadFile) -> int:
    return result.size_bytes if isinstance(result, BadFile) else result.item.size_bytes


def decoded_chunks(
    items: Iterator[Item | BadFile], decode: Callable[[Item], Row]
) -> Iterator[list[DecodedItem[Row] | BadFile]]:
    """Yield chunks of decoded rows in order, a few of them under way in threads.

    Pillow and zlib work outside the interpreter's lock, so threads are enough.
    """
    threads = min(THREADS_MAX, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        waiting: deque[Future[list[DecodedItem[Row] | BadFile]]] = deque()
        try:
            for chunk in _chunks(items):
                waiting.append(pool.submit(_decode_chunk, chunk, decode))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _chunks(items: Iterator[Item | BadFile]) -> Iterator[list[Item | BadFile]]:
    chunk: list[Item | BadFile] = []
    size_bytes = 0
    for item in items:
        chunk.append(item)
        size_bytes += item.size_bytes
        if len(chunk) >= CHUNK_ITEMS or size_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def _decode_chunk(
    chunk: list[Item | BadFile], decode: Callable[[Item], Row]
) -> list[DecodedItem[Row] | BadFile]:
    results: list[DecodedItem[Row] | BadFile] = []
    for item in chunk:
        results += [item] if isinstance(item, BadFile) else _decode_item(item, decode)
    return results


def _decode_item(
    item: Item, decode: Callable[[Item], Row]
) -> list[DecodedItem[Row]] | list[BadFile]:
    """Return the row of an item, or the rows of its pages."""
    try:
        pages = decode(item).pages()
    except BadRow as bad:
        return [BadFile(item.name, bad.reason, bad.detail, item.size_bytes)]
    if len(pages) == 1:
        return [DecodedItem(item, pages[0], pages[0].digest())]
    size_bytes = item.size_bytes // len(pages)
    return [
        DecodedItem(
            replace(item, name=f"{item.name}#{index}", size_bytes=size_bytes), page, page.digest()
        )
        for index, page in enumerate(pages)
    ]


def _too_few(name: str, writer: PackWriter[Row], reasons: Counter[str], words: Words) -> DataError:
    """Return the error of a source with less than two rows."""
    rows = f"no {words.one}" if not writer.rows else f"only one {words.one}"
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    bad = writer.first_bad
    first = f" The first of them: {bad.name}: {bad.detail}." if bad is not None else ""
    hint = (
        f"Send at least two different {words.many}; the dataset's report names each file's reason."
    )
    return DataError(
        f"{name} holds {rows} that can be used (rejected files: {left_out or 'none'}).{first}",
        hint=hint,
    )

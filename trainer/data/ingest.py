"""Ingest: decode a folder or an archive of images into a pack and report files that fail."""

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainer.data.labels.classes import ClassNames
from trainer.data.pack.format import REPORT
from trainer.data.pack.wide_values import Extent, kept_in_16_bits
from trainer.data.pack.writer import PackWriter
from trainer.data.readers.detect import Asked, open_source
from trainer.data.readers.folder import Follow
from trainer.data.readers.items import BadFile, Item, Limits, Source
from trainer.data.rows import BadImage, Decoded
from trainer.data.spec import IngestSpec
from trainer.modalities.image.decode import strict_pillow
from trainer.modalities.image.jpeg_rows import JPEG_CHANNELS, as_jpeg
from trainer.modalities.image.masks import with_mask
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
Decode = Callable[[Item], Decoded]
CHUNK_ITEMS, CHUNK_BYTES = 64, 4 << 20
"""Chunk that one thread decodes: large enough for a cheap hand-over, small enough to hold."""
PROGRESS_EVERY_S = 0.5
THREADS_MAX = 16


class IngestStopped(Exception):
    """Ingest stopped by `should_stop`; no files were left behind."""


@dataclass(frozen=True, slots=True)
class Row:
    """A decoded row and the hash of its size and pixels."""

    item: Item
    decoded: Decoded
    digest: bytes


@dataclass(slots=True)
class Progress:
    """Progress events of the ingest, at most two per second."""

    emit: Emit
    bytes_total: int
    bytes_done: int = 0
    told_at_s: float = field(default_factory=time.monotonic)

    def advance(self, size_bytes: int, writer: PackWriter, *, now: bool = False) -> None:
        """Count the bytes of the source that are done."""
        self.bytes_done += size_bytes
        if not now and time.monotonic() - self.told_at_s < PROGRESS_EVERY_S:
            return
        self.told_at_s = time.monotonic()
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
    out: Path,
    emit: Emit,
    should_stop: Callable[[], bool],
    limits: Limits | None = None,
) -> DatasetFacts:
    """Write the pack `out/pack` of `spec.source`, atomically.

    If the source is at fault, `out/report.jsonl` lists the faults by file. The pack is a pure
    function of the source and the spec. Emits Ingesting and Published. Raises DataError where no
    training set can come of it, StorageError on a full disk, IngestStopped.
    """
    try:
        writer = PackWriter(out / "pack", spec.store_as, options=spec)
        try:
            return _ingest(spec, writer, emit, should_stop, limits or Limits.of(spec))
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
    spec: IngestSpec, *, out: Path, emit: Emit, should_stop: Callable[[], bool]
) -> Ended:
    """An ingest as a job: how it ended, with the facts. Raises TrainerError."""
    try:
        facts = ingest(spec, out=out, emit=emit, should_stop=should_stop)
    except IngestStopped:
        return Ended(outcome="stopped", code="stopped", message="The ingest was stopped.")
    message = f"{facts.rows} rows, {facts.bad_files} bad files, {facts.duplicates} duplicates."
    return Ended(outcome="succeeded", message=message, facts=facts)


def _ingest(
    spec: IngestSpec,
    writer: PackWriter,
    emit: Emit,
    should_stop: Callable[[], bool],
    limits: Limits,
) -> DatasetFacts:
    path = Path(spec.source)
    limits = limits.started()
    with strict_pillow():
        passed = _read(spec, writer, emit, should_stop, limits)
        extent = writer.unmapped()
        if extent is not None:
            writer.restart(extent)
            passed = _read(spec, writer, emit, should_stop, limits)
    passed.reasons.update(bad.reason for bad in writer.leave_out_others())
    _check_rows(path.name, writer, passed.reasons)
    _check_kept(spec, writer)
    facts = writer.finish(passed.classes, value_range=spec.range, warnings=passed.warnings)
    _preview(writer.building, spec, emit)
    emit(Published(folder="pack", files=writer.publish()))
    return facts


@dataclass(frozen=True, slots=True)
class Passed:
    """Findings of one pass over the source besides its rows."""

    reasons: Counter[str]
    """Return the number of rejected files per reason."""
    classes: ClassNames
    warnings: list[DataWarning]


def _read(
    spec: IngestSpec,
    writer: PackWriter,
    emit: Emit,
    should_stop: Callable[[], bool],
    limits: Limits,
) -> Passed:
    """Read the source once, from its first row to its last."""
    asked = Asked(
        spec.format,
        masks=spec.masks,
        follow=Follow(spec.follow_links, tuple(map(Path, spec.roots))),
        scratch=writer.building,
    )
    with open_source(Path(spec.source), limits, asked) as source:
        progress = Progress(emit, source.bytes_total)
        decode = _decoding(spec, writer.extent)

        def may_go_on() -> None:
            limits.check_time(Path(spec.source).name)
            if should_stop():
                raise IngestStopped

        reasons = _write_rows(decode, source, writer, progress, may_go_on)
        progress.advance(0, writer, now=True)
        return Passed(reasons, source.classes, source.warnings)


def _write_rows(
    decode: Decode,
    source: Source,
    writer: PackWriter,
    progress: Progress,
    may_go_on: Callable[[], None],
) -> Counter[str]:
    """Rows in the source's order; returns how many files were left out for which reason.

    `may_go_on` is called between chunks, and raises what ends the ingest.
    """
    seen: dict[bytes, str] = {}
    reasons: Counter[str] = Counter()
    for chunk in decoded_chunks(source.items, decode):
        may_go_on()
        kept = []
        for result in chunk:
            bad = result if isinstance(result, BadFile) else _duplicate_of(result, seen)
            if bad is not None:
                writer.report(bad)
                reasons[bad.reason] += 1
            elif isinstance(result, Row):
                kept.append((result.item, result.decoded))
                for note in _notes(result):
                    writer.report(note)
        if kept:
            writer.add(kept)
        progress.advance(sum(_size_bytes(result) for result in chunk), writer)
    return reasons


def _duplicate_of(row: Row, seen: dict[bytes, str]) -> BadFile | None:
    """Return the report of a row with pixels that an earlier row has; else remember them."""
    first = seen.setdefault(row.digest, row.item.name)
    if first is row.item.name:
        return None
    return BadFile(row.item.name, "duplicate", f"the same pixels as {first}")


def _notes(row: Row) -> Iterator[BadFile]:
    """Yield report lines for a row that holds only part of its file."""
    name, decoded = row.item.name, row.decoded
    if decoded.is_truncated:
        yield BadFile(name, "truncated_kept", "the end of the file is missing; its place is gray")
    if decoded.mask_fault:
        yield BadFile(name, "bad_mask", f"{decoded.mask_fault}; the row has none")
    if decoded.pages_left_out:
        told = f" ({decoded.told})" if decoded.told else ""
        detail = f"{decoded.pages_left_out} further pages{told}; --pages rows makes rows of them"
        yield BadFile(name, "pages_left_out", detail)


def _size_bytes(result: Row | BadFile) -> int:
    return result.item.size_bytes if isinstance(result, Row) else result.size_bytes


def _decoding(spec: IngestSpec, extent: Extent | None) -> Decode:
    """Decode an item and bring it to what is kept. Without an extent wide values stay as they are.

    Such rows are measured and forgotten; the source is then read once more.
    """

    def kept(row: Decoded) -> Decoded:
        if row.kind == "wide" and extent is not None:
            row = kept_in_16_bits(row, extent)
        is_jpeg = spec.store_as == "jpeg" and row.kind == "uint8" and row.channels in JPEG_CHANNELS
        return as_jpeg(row) if is_jpeg else row

    def decode(item: Item) -> Decoded:
        row = item.decode(spec)
        if item.mask is not None:
            row = with_mask(row, item.mask)
        return replace(kept(row), more=tuple(map(kept, row.more)))

    return decode


def decoded_chunks(
    items: Iterator[Item | BadFile], decode: Decode
) -> Iterator[list[Row | BadFile]]:
    """Chunks of decoded rows in order, a few of them under way in threads.

    Pillow and zlib work outside the interpreter's lock, so threads are enough.
    """
    threads = min(THREADS_MAX, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        waiting: deque[Future[list[Row | BadFile]]] = deque()
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


def _decode_chunk(chunk: list[Item | BadFile], decode: Decode) -> list[Row | BadFile]:
    results: list[Row | BadFile] = []
    for item in chunk:
        results += [item] if isinstance(item, BadFile) else _decode_item(item, decode)
    return results


def _decode_item(item: Item, decode: Decode) -> list[Row | BadFile]:
    """Return the row of an item, or the rows of its pages."""
    try:
        first = decode(item)
    except BadImage as bad:
        return [BadFile(item.name, bad.reason, bad.detail, item.size_bytes)]
    if not first.more:
        return [_row(item, first)]
    pages = (replace(first, more=()), *first.more)
    size_bytes = item.size_bytes // len(pages)
    return [
        _row(replace(item, name=f"{item.name}#{place}", size_bytes=size_bytes), page)
        for place, page in enumerate(pages)
    ]


def _row(item: Item, decoded: Decoded) -> Row:
    digest = hashlib.sha256(b"%d %d " % (decoded.height, decoded.width))
    if (decoded.kind, decoded.channels) != ("uint8", 3):
        digest.update(b"%s %d " % (decoded.kind.encode(), decoded.channels))
    digest.update(decoded.pixels)
    return Row(item, decoded, digest.digest())


def _check_rows(name: str, writer: PackWriter, reasons: Counter[str]) -> None:
    if writer.rows >= 2:
        return
    found = "no image" if not writer.rows else "only one image"
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    bad = writer.first_bad
    such = f" The first of them: {bad.name}: {bad.detail}." if bad is not None else ""
    raise DataError(
        f"{name} holds {found} that can be used (rejected files: {left_out or 'none'}).{such}",
        hint="Send at least two different images; the dataset's report names each file's reason.",
    )


def _check_kept(spec: IngestSpec, writer: PackWriter) -> None:
    part = writer.chosen()
    if spec.store_as == "pixels" or part is None:
        return
    if part.layout.kind != "uint8" or part.layout.channels not in JPEG_CHANNELS:
        raise DataError(
            f"Rows with {part.layout.words()} cannot be kept as JPEG, which has 8 bits.",
            hint="Add the dataset with store_as 'pixels'.",
        )


def _preview(folder: Path, spec: IngestSpec, emit: Emit) -> None:
    """Draw the preview. It is the one part that needs torch, so it is loaded after all checks."""
    from trainer.inference.dataset_preview import write_preview  # noqa: PLC0415

    try:
        write_preview(folder, seed=spec.seed)
    except SpecError as error:
        emit(Logged(level="warning", message=f"No preview of views: {error.detail}"))

"""Rows in parquet files, as the Hugging Face hub keeps them: a column is bytes and path."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trainer.data.formats import FileFormats
from trainer.data.labels.classes import ClassNames
from trainer.data.readers.items import BadFile, Item, Limits, Split, split_named
from trainer.data.readers.regions import Region
from trainer.schema.errors import DataError

if TYPE_CHECKING:
    from pyarrow import Schema
    from pyarrow.parquet import ParquetFile, RowGroupMetaData

MAGIC = b"PAR1"
LABEL_NAMES = ("label", "labels", "class", "category")
MORE = ("split", "sequence", "time", "pair")
FOOTER_BYTES_MAX = 256 << 20
BATCH_BYTES, BATCH_ROWS = 4 << 20, 256


@dataclass(frozen=True, slots=True)
class _Columns:
    content: str
    """Name of the column of the rows' bytes."""
    label: str | None
    classes: tuple[str, ...]
    """Names of the numbers in the column of labels, if the file has them."""
    more: tuple[str, ...]
    """Names of the MORE columns that the file has."""


def parquet_items(
    region: Region,
    limits: Limits,
    *,
    formats: FileFormats,
    classes: ClassNames,
    split: Split | None = None,
) -> Iterator[Item | BadFile]:
    """Give the rows of a parquet file, a few in memory at a time. Raises DataError.

    The names of their classes are added to `classes`.
    """
    import pyarrow as pa  # noqa: PLC0415 - it takes a while to load, and few need it
    from pyarrow import parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(
            region.reader(),
            thrift_string_size_limit=FOOTER_BYTES_MAX,
            thrift_container_size_limit=limits.entries,
            buffer_size=1 << 20,
        ) as file:
            columns = _columns(file, region.name, formats)
            classes.declare(columns.classes)
            for row, record in enumerate(_records(file, columns)):
                item = _item(f"{region.name}#{row}", record, columns, limits)
                label = None if isinstance(item, BadFile) else _label(record, columns)
                yield (
                    item
                    if isinstance(item, BadFile)
                    else replace(item, label=classes.number(label), split=item.split or split)
                )
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            f"{region.name} cannot be read: {reason}.", hint=formats.tables.hint
        ) from error


def _columns(file: "ParquetFile", name: str, formats: FileFormats) -> _Columns:
    schema = file.schema_arrow
    features = _features(schema.metadata or {})
    names = list(schema.names)
    tables = formats.tables
    candidates = [
        *(key for key, kind in features.items() if kind.get("_type") == tables.feature),
        *tables.names,
        *names,
    ]
    content = next((key for key in candidates if key in names and _holds_bytes(schema, key)), None)
    if content is None:
        raise DataError(f"{name} has no column of {formats.words.many}.", hint=tables.hint)
    labels = [
        *(key for key in LABEL_NAMES if features.get(key, {}).get("_type") == "ClassLabel"),
        *(key for key, kind in features.items() if kind.get("_type") == "ClassLabel"),
        *LABEL_NAMES,
    ]
    label = next((key for key in labels if key in names and _holds_labels(schema, key)), None)
    class_names = features.get(label or "", {}).get("names", ())
    classes = tuple(map(str, class_names)) if isinstance(class_names, list) else ()
    return _Columns(content, label, classes, tuple(key for key in MORE if key in names))


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """Return Hugging Face's column metadata, empty if the file has none."""
    try:
        record = json.loads(metadata.get(b"huggingface", b"{}"))
        features = record["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {key: kind for key, kind in features.items() if isinstance(kind, dict)}


def _holds_bytes(schema: "Schema", key: str) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    kind = schema.field(key).type
    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else pa.null()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(schema: "Schema", key: str) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    kind = schema.field(key).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )


def _records(file: "ParquetFile", columns: _Columns) -> Iterator[dict[str, Any]]:
    wanted = [columns.content, *((columns.label,) if columns.label else ()), *columns.more]
    for group in range(file.metadata.num_row_groups):
        rows = _batch_rows(file.metadata.row_group(group))
        for batch in file.iter_batches(rows, row_groups=[group], columns=wanted, use_threads=False):
            yield from batch.to_pylist()


def _batch_rows(group: "RowGroupMetaData") -> int:
    """Return how many rows to read at once. Repeated values are packed once: then one by one."""
    columns = [group.column(number) for number in range(group.num_columns)]
    if any(c.physical_type == "BYTE_ARRAY" and c.has_dictionary_page for c in columns):
        return 1
    mean_bytes = sum(int(column.total_uncompressed_size) for column in columns) // max(
        1, group.num_rows
    )
    return int(max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, mean_bytes))))


def _item(name: str, record: dict[str, Any], columns: _Columns, limits: Limits) -> Item | BadFile:
    cell = record[columns.content]
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not data:
        has_path = isinstance(cell, dict) and cell.get("path")
        detail = "it names a path and holds no bytes" if has_path else "the row holds no bytes"
        return BadFile(name, "empty", detail)
    if len(data) > limits.entry_bytes:
        detail = f"{len(data)} bytes; file_bytes_max is {limits.entry_bytes}"
        return BadFile(name, "oversize", detail, len(data))
    word, sequence, time, pair = (record.get(key) for key in MORE)
    return Item(
        name,
        len(data),
        lambda: data,
        split=split_named(word) if isinstance(word, str) else None,
        sequence=str(sequence) if sequence is not None else None,
        pair=str(pair) if pair is not None else None,
        time=float(time) if isinstance(time, int | float) else None,
    )


def _label(record: dict[str, Any], columns: _Columns) -> str | None:
    label = record[columns.label] if columns.label else None
    if not isinstance(label, int):
        return label
    if 0 <= label < len(columns.classes):
        return columns.classes[label]
    return None if label < 0 else str(label)

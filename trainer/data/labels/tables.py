"""Tables of rows beside the files: `rows` or `metadata`, csv or jsonl, and `labels.csv`."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainer.data.readers.items import Split, split_named

TABLES = ("rows.csv", "rows.jsonl", "metadata.csv", "metadata.jsonl")
LABELS = "labels.csv"
FILE_COLUMNS = ("file", "file_name")
SEPARATORS = ",;\t"
CELL_CHARACTERS = 1 << 20


class BadTable(Exception):
    """Table that cannot be read; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Annotations of one file."""

    label: str | None = None
    split: Split | None = None
    sequence: str | None = None
    time: float | None = None
    pair: str | None = None
    mask: str | None = None
    """Name of the mask's file."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table."""

    number: int
    file: str
    annotation: Annotation
    faults: tuple[str, ...] = ()
    """Errors in single cells."""


def is_table(name: str) -> bool:
    """Return whether a file of this name is a table of rows."""
    return name.rpartition("/")[2].lower() in (*TABLES, LABELS)


def read_table(name: str, data: bytes) -> Iterator[Line]:
    """Yield the lines of a table. Raises BadTable."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTable(f"it is not UTF-8 at byte {error.start}") from error
    if name.lower().endswith(".jsonl"):
        return map(_line, _jsonl(text))
    return map(_line, _csv(text, headless=name.rpartition("/")[2].lower() == LABELS))


def _csv(text: str, *, headless: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield lines as mappings by column. A two-column table of labels needs no header."""
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    csv.field_size_limit(CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = next(reader, [])
        columns = [cell.strip().lower() for cell in header]
        if not set(FILE_COLUMNS) & set(columns):
            if not headless or len(header) != 2:
                raise BadTable("its first line names no column `file` or `file_name`")
            columns = ["file", "label"]
            yield 1, dict(zip(columns, header, strict=True))  # A header names no file.
        if len(set(columns)) < len(columns):
            raise BadTable("its first line names a column twice")
        for cells in reader:
            if cells:
                yield reader.line_num, dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise BadTable(f"line {reader.line_num}: {error}") from error


def _jsonl(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadTable(f"line {number} is not JSON") from error
        if not isinstance(record, dict):
            raise BadTable(f"line {number} is no object")
        if not set(FILE_COLUMNS) & set(record):
            raise BadTable(f"line {number} has no `file` or `file_name`")
        yield number, record


def _line(numbered: tuple[int, dict[str, Any]]) -> Line:
    number, cells = numbered
    file = _word(cells.get("file")) or _word(cells.get("file_name")) or ""
    faults = []
    split, word = None, _word(cells.get("split"))
    if word and (split := split_named(word)) is None:
        faults.append(f"split {word[:40]} is none of train, val, test")
    time, word = None, _word(cells.get("time"))
    if word and (time := _number(word)) is None:
        faults.append(f"time {word[:40]} is no number")
    annotation = Annotation(
        label=_word(cells.get("label")),
        split=split,
        sequence=_word(cells.get("sequence")),
        time=time,
        pair=_word(cells.get("pair")),
        mask=_word(cells.get("mask")),
    )
    return Line(number, file, annotation, tuple(faults))


def _word(cell: object) -> str | None:
    """Return a cell as one line of text, None if it is empty."""
    if cell is None or isinstance(cell, dict | list):
        return None
    text = str(cell).lower() if isinstance(cell, bool) else str(cell)
    return " ".join(text.split()) or None


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def beside(table: str, file: str) -> str:
    """Return the name of a file that a table names, in the source: tables name what is below."""
    folder = table.rpartition("/")[0]
    parts = [part for part in file.replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join((*folder.split("/"), *parts) if folder else parts)

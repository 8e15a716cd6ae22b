"""An ingest of a modality that is made up here: rows of one text file each."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.data.formats import ArrayFormat, FileFormats, TableFormat, Words
from trainer.data.ingest import ingest
from trainer.data.modality import IngestModality
from trainer.data.pack.format import Pack
from trainer.data.pack.rows_writer import RowsWriter
from trainer.data.readers.items import Item, Limits
from trainer.data.rows import BadRow, Layout
from trainer.data.spec import IngestSpec
from trainer.schema.errors import DataError, SpecError
from trainer.schema.events import Event, Logged


@dataclass(frozen=True)
class Verse:
    """Letters of one file."""

    stored: bytes
    layout: ClassVar[Layout] = Layout("uint8", 1)

    @property
    def shape(self) -> tuple[int, int]:
        return 1, len(self.stored)

    def digest(self) -> bytes:
        return hashlib.sha256(self.stored).digest()

    def pages(self) -> tuple["Verse", ...]:
        return (self,)

    def notes(self) -> Iterator[tuple[str, str]]:
        if self.stored.endswith(b" "):
            yield "truncated_kept", "it ends with a space"


class VersesWriter(RowsWriter[Verse]):
    def check(self) -> None:
        pass

    def facts(self) -> dict[str, Any]:
        lengths = sorted(int(width) for width in self.index["width"])
        return {
            "side_px_min": lengths[0],
            "side_px_median": lengths[len(lengths) // 2],
            "side_px_max": lengths[-1],
            "same_size": lengths[0] == lengths[-1],
            "channels": 1,
            "mean": (0.0,),
            "std": (1.0,),
        }


class VerseMaker:
    def decode(self, item: Item) -> Verse:
        content = item.content()
        assert isinstance(content, bytes)
        if not content.isascii():
            raise BadRow("unreadable", "it is not ASCII")
        return Verse(content.lower())

    def open_writer(self, folder: Path, layout: Layout) -> VersesWriter:
        return VersesWriter(folder, layout, rows_file="pixels.u8")

    def second_pass(self, rows: RowsWriter[Verse]) -> None:
        assert rows.rows


@contextmanager
def verses(_spec: IngestSpec) -> Iterator[VerseMaker]:
    yield VerseMaker()


def no_arrays(
    array: NDArray[Any], name: str, limits: Limits, *, alone: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    raise DataError(f"{name} is no verse.")


def no_preview(_folder: Path, _spec: IngestSpec) -> None:
    raise SpecError("verses have no views", field="views")


VERSES = IngestModality(
    name="verses",
    formats=FileFormats(
        words=Words(one="verse", a="a verse", many="verses", content="letters"),
        suffixes=frozenset({"txt"}),
        format_of=lambda first: "VERSE" if first.startswith(b"O ") else None,
        describe=lambda _first: "prose",
        arrays=ArrayFormat(no_arrays, hint="Send text."),
        tables=TableFormat(("verse",), feature="Value", hint="Send text."),
        datasets=(),
        sources_hint="Send a folder of verses.",
    ),
    row_maker=verses,
    write_preview=no_preview,
)


def run(source: Path, out: Path, events: list[Event]) -> Pack:
    spec = IngestSpec(dataset_id="ds", source=str(source))
    ingest(spec, modality=VERSES, out=out, emit=events.append, should_stop=lambda: False)
    return Pack.open(out / "pack")


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def test_rows_of_another_modality_become_a_pack(tmp_path: Path) -> None:
    files = {
        "calm/a.txt": b"Still",
        "calm/b.txt": b"STILL",
        "loud/c.txt": b"Thunder ",
        "loud/d.txt": "ü".encode(),
    }
    events: list[Event] = []
    pack = run(folder_of(tmp_path / "verses", files), tmp_path, events)
    assert [pack.row_bytes(row).tobytes() for row in range(pack.rows)] == [b"still", b"thunder "]
    assert [pack.size(row) for row in range(pack.rows)] == [(1, 5), (1, 8)]
    assert [pack.facts.labels[label] for label in pack.labels] == ["calm", "loud"]
    report = [json.loads(line) for line in (pack.folder / "report.jsonl").read_text().splitlines()]
    assert [(line["name"], line["reason"], line["detail"]) for line in report] == [
        ("calm/b.txt", "duplicate", "the same letters as calm/a.txt"),
        ("loud/c.txt", "truncated_kept", "it ends with a space"),
        ("loud/d.txt", "unreadable", "it is not ASCII"),
    ]
    assert json.loads((pack.folder / "pack.json").read_text())["modality"] == "verses"
    notes = [event.message for event in events if isinstance(event, Logged)]
    assert notes == ["No preview of views: views: verses have no views"]


def test_refusals_name_the_rows_of_the_modality(tmp_path: Path) -> None:
    refused = {
        "one": folder_of(tmp_path / "one", {"a.txt": b"Alone"}),
        "single": folder_of(tmp_path / "x", {"single.txt": b"O wind"}) / "single.txt",
        "other": folder_of(tmp_path / "y", {"other.txt": b"It was"}) / "other.txt",
        "array.npy": tmp_path / "array.npy",
    }
    np.save(refused["array.npy"], np.zeros((2, 2)))
    messages = {}
    for name, source in refused.items():
        with pytest.raises(DataError) as caught:
            run(source, tmp_path / f"out-{name}", [])
        messages[name] = caught.value.detail
    assert messages == {
        "one": "one holds only one verse that can be used (rejected files: none).",
        "single": "single.txt is a single VERSE verse, not a dataset.",
        "other": "Unrecognized format of other.txt: the content is prose.",
        "array.npy": "array.npy is no verse.",
    }

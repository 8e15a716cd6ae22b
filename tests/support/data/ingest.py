"""Runs an ingest in a test and reads what it left."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data.ingest import ingest
from trainer.data.pack.format import Pack
from trainer.data.pack.writer import PackWriter
from trainer.data.spec import IngestSpec
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.ingest import INGEST, ImageRowMaker
from trainer.schema.choices import SourceFormat, StoredAs
from trainer.schema.events import DatasetFacts, Event


@dataclass(frozen=True)
class Ingested:
    """Result of an ingest."""

    pack: Pack
    facts: DatasetFacts
    events: list[Event]

    def report(self) -> dict[str, str]:
        """Reason of each bad file."""
        return {line["name"]: line["reason"] for line in self.report_lines()}

    def report_lines(self) -> list[dict[str, str]]:
        """The report as it is on the disk."""
        text = (self.pack.folder / "report.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def names(self) -> list[str]:
        """Names of the rows."""
        return [self.pack.name(row) for row in range(self.pack.rows)]

    def label_names(self) -> list[str]:
        """Class of each row."""
        return [self.facts.labels[label] for label in self.pack.labels]


def image_writer(folder: Path, **options: Any) -> PackWriter[Decoded]:  # noqa: ANN401
    """Return the writer of a pack of images; `options` are fields of IngestOptions."""
    spec = IngestSpec(dataset_id="ds", source="", **options)
    return PackWriter(folder, ImageRowMaker(spec), modality=INGEST.name)


def ingested(
    source: Path,
    out: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    kind: SourceFormat = "auto",
    store_as: StoredAs = "pixels",
    **options: Any,  # noqa: ANN401
) -> Ingested:
    """Ingest a source into `out` and open the pack; `options` are fields of IngestOptions."""
    events: list[Event] = []
    spec = IngestSpec(
        dataset_id="ds",
        source=str(source),
        format=kind,
        store_as=store_as,
        **options,
    )
    facts = ingest(spec, out=out, modality=INGEST, emit=events.append, should_stop=should_stop)
    return Ingested(Pack.open(out / "pack"), facts, events)

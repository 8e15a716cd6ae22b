"""A probe from spec to answer: what an encoder finds alike, as JSON and as two pictures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.accel.device import DeviceConfig, DeviceContext, deterministic_device
from trainer.data.pack.format import Pack
from trainer.exports import contact_sheet
from trainer.exports.atomic_folder import atomic_folder
from trainer.exports.embeddings import label_name
from trainer.inference.feature_extractor import FeatureExtractor, load_extractor
from trainer.inference.neighbours.feature_bank import Bank, Stopped, bank_of, sample
from trainer.inference.neighbours.search import Neighbour, chosen_rows, nearest
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.modalities.base import load_modality
from trainer.modalities.outputs import Outputs, outputs_of
from trainer.modalities.unpacked import Unpacked, load_unpacked
from trainer.schema.artifact_names import ANSWER, SHEET, TILES
from trainer.schema.errors import SpecError
from trainer.schema.events import Ended, Event, Published
from trainer.util.atomic_files import write_blocks

FOLDER = "answer"
ROUND = 6
"""Digits of a similarity: float32 has no more."""
TEXT_MAX = 500
"""Characters of a text that an answer has."""


@dataclass
class Probe:
    """One probe at work."""

    spec: NeighbourSearchSpec
    pack: Pack
    context: DeviceContext
    should_stop: Callable[[], bool]
    query: Any = field(init=False)
    """Query that was sent; None for row queries."""

    def __post_init__(self) -> None:
        """Reject invalid queries before any computation."""
        _check_rows(self.spec, self.pack)
        self.query = None
        if self.spec.image is not None:
            self.query = self.unpacked.query(Path(self.spec.image), self.pack)

    @property
    def outputs(self) -> Outputs:
        """Pictures and words of rows, for people."""
        return outputs_of(self.spec.job)

    @property
    def unpacked(self) -> Unpacked[Any, Any]:
        """Reader of queries that are sent."""
        return load_unpacked(self.pack.facts.modality)

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """Read from the disk when it is first needed: often the kept features are enough."""
        return load_extractor(self.spec, self.pack, self.context)

    def search(self) -> tuple[Bank, list[int | None], list[list[Neighbour]]]:
        """Return the rows searched, the queries, and the neighbors of each."""
        # A query that was sent needs the encoder in any case: report a missing one at once.
        features = None if self.query is None else self.extractor.features_of(self.query).numpy()
        bank = bank_of(self.spec, self.pack, lambda: self.extractor, should_stop=self.should_stop)
        rows: list[int | None] = [None]
        if features is None:
            among = np.sort(sample(self.spec, self.pack.rows))
            chosen = list(self.spec.rows) or chosen_rows(self.pack, among=among)
            features, rows = self._features(bank, chosen), [*chosen]
        return bank, rows, nearest(features, bank, k=self.spec.k, own_rows=rows)

    def _features(self, bank: Bank, rows: list[int]) -> NDArray[np.float32]:
        """Return the features of rows [Q], float32 [Q, D]: from the bank if there, or computed."""
        wanted_rows = np.asarray(rows, np.int64)
        indices = np.searchsorted(bank.rows, wanted_rows).clip(max=len(bank.rows) - 1)
        values: NDArray[np.float32] = bank.features[indices].copy()
        missing = np.flatnonzero(bank.rows[indices] != wanted_rows)
        if len(missing):
            with self.extractor.loader() as source:
                raw = source.whole(torch.from_numpy(wanted_rows[missing]))
            values[missing] = self.extractor.features(raw).numpy()
        return values

    def picture(self, row: int | None) -> NDArray[np.uint8] | None:
        """Return the picture of a row or of the query; None where rows are no pictures."""
        if row is not None:
            return self.outputs.picture(self.pack, row)
        return self.unpacked.picture(self.query, self.pack)

    def words(self, row: int | None) -> dict[str, Any]:
        """Return the name and label of a row, and its text if it has one."""
        if row is None:
            name, label = f"your {self.outputs.words.one}", None
            text = self.unpacked.text(self.query)
        else:
            name, label = self.pack.name(row), label_name(self.pack, row)
            text = self.outputs.text(self.pack, row)
        words = {"row": row, "name": name, "label": label}
        return words if text is None else words | {"text": text[:TEXT_MAX]}


def run_probe(
    spec: NeighbourSearchSpec,
    *,
    out: Path,
    pack: Path,
    device_config: DeviceConfig,
    emit: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> Ended:
    """Write `out/answer` whole or not at all, and tell its files. Raises TrainerError."""
    with deterministic_device(device_config, precision="fp32") as context:
        modality = load_modality(spec.job.views.modality)
        probe = Probe(spec, modality.open_pack(pack, spec.job), context, should_stop)
        try:
            bank, rows, neighbours = probe.search()
        except Stopped:
            return Ended(outcome="stopped", code="stopped", message="The probe was stopped.")
    answer = _answer(probe, bank, rows, neighbours)
    contents = {ANSWER: (json.dumps(answer, ensure_ascii=False) + "\n").encode()}
    contents |= _pictures(probe, rows, neighbours, note=answer["note"])
    with atomic_folder(out / FOLDER) as folder:
        files = tuple(write_blocks(folder / name, [data]) for name, data in contents.items())
    emit(Published(folder=FOLDER, files=files))
    return Ended(outcome="succeeded", message=answer["note"])


def _check_rows(spec: NeighbourSearchSpec, pack: Pack) -> None:
    for row in spec.rows:
        if row >= pack.rows:
            raise SpecError(f"row {row} is none of the {pack.rows} rows", field="rows")


def _answer(
    probe: Probe, bank: Bank, rows: list[int | None], neighbours: list[list[Neighbour]]
) -> dict[str, Any]:
    return {
        "checkpoint": probe.spec.checkpoint,
        "rows": probe.pack.rows,
        "searched_rows": len(bank.rows),
        "note": _note(len(bank.rows), probe.pack.rows, many=probe.outputs.words.many),
        "tile_px": contact_sheet.TILE_PX,
        "probes": [
            probe.words(row)
            | {
                "neighbours": [
                    probe.words(neighbour.row) | {"similarity": round(neighbour.similarity, ROUND)}
                    for neighbour in near
                ]
            }
            for row, near in zip(rows, neighbours, strict=True)
        ],
    }


def _note(searched: int, rows: int, *, many: str) -> str:
    if searched == rows:
        return f"All {rows:,} {many} were searched."
    return f"{searched:,} of {rows:,} {many} were searched: a random sample, for speed."


def _pictures(
    probe: Probe, rows: list[int | None], neighbours: list[list[Neighbour]], *, note: str
) -> dict[str, bytes]:
    """Return the contact sheets by name; none where rows are no pictures."""
    if probe.picture(rows[0]) is None:
        return {}
    spec = probe.spec
    lines = [_line(probe, row, near) for row, near in zip(rows, neighbours, strict=True)]
    title = spec.job.name or f"{spec.job.encoder.name} on {spec.job.dataset}"
    step = "" if spec.checkpoint is None else f", step {spec.checkpoint}"
    return {
        TILES: contact_sheet.tiles(lines),
        SHEET: contact_sheet.sheet(lines, title=title + step, note=note),
    }


def _line(probe: Probe, row: int | None, near: list[Neighbour]) -> list[contact_sheet.Cell]:
    cells = [_cell(probe, row, "the probe")]
    return cells + [
        _cell(probe, neighbour.row, f"{neighbour.similarity:.3f}") for neighbour in near
    ]


def _cell(probe: Probe, row: int | None, below: str) -> contact_sheet.Cell:
    words, picture = probe.words(row), probe.picture(row)
    assert picture is not None
    return contact_sheet.Cell(picture, words["label"] or words["name"], below)

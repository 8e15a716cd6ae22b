"""Picture of the most anomalous test images, where anomalies were measured."""

from pathlib import Path
from typing import Any

from trainer.exports.base import Export, write_file
from trainer.exports.contact_sheet import Cell, sheet
from trainer.modalities.outputs import outputs_of

ANOMALIES = "anomalies.png"
EVALUATOR = "anomaly"
COLUMNS = 6


def files(export: Export) -> dict[str, str]:
    """Return the picture, if anomalies were measured."""
    if not _rows(export):
        return {}
    return {ANOMALIES: "the test images that are farthest from normal ones"}


def write(export: Export, folder: Path) -> None:
    """Draw the picture, the most anomalous image first."""
    rows = _rows(export)
    if not rows:
        return
    cells = [_cell(export, row) for row in rows]
    lines = [cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)]
    wrong = sum(not row["anomaly"] for row in rows)
    note = f"Label and distance to normal images. {wrong} of these {len(rows)} have a normal label."
    picture = sheet(lines, title="Most anomalous test images", note=note, probe_gap_px=0)
    write_file(folder, ANOMALIES, picture)


def _rows(export: Export) -> tuple[dict[str, Any], ...]:
    """Return the evaluator's table of the most anomalous rows that have pictures."""
    if outputs_of(export.spec).picture(export.pack, 0) is None:
        return ()
    results = [each.result for each in export.evaluation.evaluators if each.name == EVALUATOR]
    return results[0].tables.get("anomalies", ()) if results and results[0] else ()


def _cell(export: Export, row: dict[str, Any]) -> Cell:
    picture = outputs_of(export.spec).picture(export.test_pack or export.pack, row["row"])
    assert picture is not None
    return Cell(picture, str(row["label"]), f"{row['score']:.3f}")

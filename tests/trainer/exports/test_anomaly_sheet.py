"""Picture of the most anomalous test images."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.trainer.made_up_export import made_up_export, made_up_images
from trainer.exports import anomaly_sheet
from trainer.exports.contact_sheet import GAP_PX, HEADER_PX, MARGIN_PX, TILE_PX
from trainer.schema.evaluation import EvaluationReport, EvaluatorReport, Findings, Row

SHOWN = (7, 4, 21)


def report(name: str) -> EvaluationReport:
    """Return a report of an evaluator with a table of anomalies."""
    rows: list[Row] = [
        {"row": row, "name": f"{row}.png", "label": "light", "score": 0.5, "anomaly": row % 2 == 1}
        for row in SHOWN
    ]
    result = Findings(step=60, epoch=3.0, tables={"anomalies": tuple(rows)})
    return EvaluationReport(evaluators=(EvaluatorReport(name=name, result=result),))


def test_the_most_anomalous_images_are_drawn_in_their_order(tmp_path: Path) -> None:
    export = replace(made_up_export("small", tmp_path), evaluation=report("anomaly"))
    assert [*anomaly_sheet.files(export)] == ["anomalies.png"]
    anomaly_sheet.write(export, tmp_path)
    picture = np.asarray(Image.open(io.BytesIO((tmp_path / "anomalies.png").read_bytes())))
    images, _ = made_up_images()
    for column, row in enumerate(SHOWN):
        left = MARGIN_PX + column * (TILE_PX + GAP_PX)
        tile = picture[HEADER_PX : HEADER_PX + TILE_PX, left : left + TILE_PX]
        scale = TILE_PX // images.shape[1]
        assert np.array_equal(tile, images[row].repeat(scale, 0).repeat(scale, 1))


def test_a_job_without_anomalies_has_no_picture(tmp_path: Path) -> None:
    export = made_up_export("small", tmp_path)
    for evaluation in (EvaluationReport(), report("knn")):
        without = replace(export, evaluation=evaluation)
        assert anomaly_sheet.files(without) == {}
        anomaly_sheet.write(without, tmp_path)
    assert not (tmp_path / "anomalies.png").exists()

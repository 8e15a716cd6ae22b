"""evaluation.json of a run that goes on: what an attempt leaves to the next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from trainer.engine.evaluation_log import EvaluationLog, read_report
from trainer.evaluators.base import Evaluator, Measured
from trainer.evaluators.intervals import share
from trainer.evaluators.runner import Evaluation, Round
from trainer.schema.evaluation import TABLE_ROWS_MAX, EvaluationReport


@dataclass(frozen=True)
class Named:
    name: str


EVALUATION = Evaluation(
    views=cast(Any, None),
    evaluators=cast(tuple[Evaluator, ...], (Named("knn"), Named("linear"))),
    not_measured=("Nothing to cluster.",),
)


def log_of(before: EvaluationReport, path: Path | None) -> EvaluationLog:
    return EvaluationLog(before, evaluation=EVALUATION, path=path)


def measured(right: int) -> Measured:
    return Measured({}, share("top1", right, 10), {"errors": [{"row": right, "share": 0.5}]})


def test_a_run_that_resumes_has_the_baselines_and_no_result_after_its_step(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    log = log_of(EvaluationReport(), path)
    assert read_report(path, until_step=0).not_measured == ("Nothing to cluster.",)
    log.add(Round({"linear": measured(1)}), step=0, epoch=0.0)
    log.add(Round({"knn": measured(7)}), step=4, epoch=1.0)
    log.add(Round({"linear": measured(8)}), step=8, epoch=2.0)

    assert read_report(path, until_step=8) == log.report
    resumed = log_of(read_report(path, until_step=4), None)
    knn, linear = resumed.report.evaluators
    assert (knn.name, linear.name) == ("knn", "linear"), "in the order of the spec"
    assert knn.result is not None
    assert knn.result.tables == {"errors": ({"row": 7, "share": 0.5},)}
    assert linear.result is None
    assert linear.baselines is not None
    resumed.add(Round({"linear": measured(8)}), step=8, epoch=2.0)
    assert resumed.report == log.report


def test_a_file_that_is_missing_or_damaged_is_no_report(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    assert read_report(path, until_step=9) == EvaluationReport()
    path.write_bytes(b'{"evaluators": [{"na')
    assert read_report(path, until_step=9) == EvaluationReport()


@pytest.mark.parametrize(
    "row", [{"share": float("nan")}, {"share": float("inf")}, {"a": "x" * 301}]
)
def test_a_table_holds_finite_numbers_and_short_texts(row: dict[str, Any]) -> None:
    log = log_of(EvaluationReport(), None)
    with pytest.raises(ValidationError):
        log.add(Round({"knn": Measured({}, tables={"t": [row]})}), step=1, epoch=1.0)
    many = [{"share": 0.5}] * (TABLE_ROWS_MAX + 1)
    with pytest.raises(ValidationError):
        log.add(Round({"knn": Measured({}, tables={"t": many})}), step=1, epoch=1.0)

"""evaluation.json of a run that goes on: the newest result of each evaluator, and its baselines."""

from pathlib import Path

from pydantic import ValidationError

from trainer.evaluators.base import Measured
from trainer.evaluators.runner import Evaluation, Round
from trainer.schema.evaluation import EvaluationReport, EvaluatorReport, Findings
from trainer.util.atomic_files import replace_file


class EvaluationLog:
    """Results of the evaluators so far, in memory and, on the rank that writes, in a file.

    The file is on the disk before a checkpoint of the same step, so a run that resumes knows the
    baselines, and at its end the last result, as one that was never interrupted.
    """

    def __init__(
        self, before: EvaluationReport, *, evaluation: Evaluation, path: Path | None
    ) -> None:
        """Start with the report of the attempts before this one; `path` None writes no file."""
        self._names = [evaluator.name for evaluator in evaluation.evaluators]
        self._path = path
        self.report = before.model_copy(update={"not_measured": evaluation.not_measured})
        if self.report != EvaluationReport():
            self._write()

    def add(self, results: Round, *, step: int, epoch: float) -> None:
        """Take in a round; that of step 0 has the baselines. Raises StorageError."""
        reports = {each.name: each for each in self.report.evaluators}
        for name, measured in results.measured.items():
            part = "result" if step else "baselines"
            findings = _findings(measured, step=step, epoch=epoch)
            before = reports.get(name, EvaluatorReport(name=name))
            reports[name] = before.model_copy(update={part: findings})
        held = tuple(reports[name] for name in self._names if name in reports)
        self.report = self.report.model_copy(update={"evaluators": held})
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, self.report.model_dump_json().encode())


def read_report(path: Path, *, until_step: int) -> EvaluationReport:
    """Return the report in a file, without results after a step; empty if there is none."""
    try:
        report = EvaluationReport.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return EvaluationReport()
    held = tuple(_until(each, until_step) for each in report.evaluators)
    return report.model_copy(update={"evaluators": held})


def _until(report: EvaluatorReport, step: int) -> EvaluatorReport:
    if report.result is None or report.result.step <= step:
        return report
    return report.model_copy(update={"result": None})


def _findings(measured: Measured, *, step: int, epoch: float) -> Findings:
    return Findings(
        step=step,
        epoch=epoch,
        figures=measured.figures,
        tables={name: tuple(map(dict, rows)) for name, rows in measured.tables.items()},
        notes=measured.notes,
    )

"""Schemas of what the evaluators of a job measured."""

from typing import Literal

from pydantic import BaseModel, Field

from service.api.schemas import examples
from service.api.schemas.jobs_and_datasets import response_config
from trainer.evaluators.registry import TABLES
from trainer.schema.evaluation import EvaluationReport, EvaluatorReport
from trainer.spec.signal_tables import SIGNALS


class FigureMeaning(BaseModel):
    """Unit and meaning of a figure."""

    model_config = response_config()

    unit: str
    """Unit; `ratio` is a share from 0 to 1."""
    meaning: str
    """Meaning."""
    better: Literal["up", "down", ""] = ""
    """Direction in which it gets better; empty if it has none."""


class TableMeaning(BaseModel):
    """Title and columns of a table."""

    model_config = response_config()

    title: str
    """Title."""
    columns: dict[str, str]
    """Column name -> its meaning."""
    x: str = ""
    """Column for the horizontal axis, if the table is a curve."""
    y: str = ""
    """Column for the vertical axis, if the table is a curve."""


class Evaluation(BaseModel):
    """Newest results of the evaluators of a job."""

    model_config = response_config(examples.EVALUATION)

    object: Literal["evaluation"] = "evaluation"
    """Object type."""
    job_id: str
    """Id of the job."""
    evaluators: list[EvaluatorReport]
    """Evaluators, in the order of the spec."""
    not_measured: list[str]
    """Sentences on evaluators that the dataset does not suit."""
    figures: dict[str, FigureMeaning] = Field(default_factory=dict)
    """Figure name -> its meaning."""
    tables: dict[str, dict[str, TableMeaning]] = Field(default_factory=dict)
    """Evaluator name -> table name -> title and columns."""

    @classmethod
    def of(cls, job_id: str, report: EvaluationReport) -> "Evaluation":
        """Return a report with the meaning of its figures and tables."""
        return cls(
            job_id=job_id,
            evaluators=list(report.evaluators),
            not_measured=list(report.not_measured),
            figures={name: _figure(name) for name in _figures(report) if name in SIGNALS},
            tables={each.name: _tables(each) for each in report.evaluators},
        )


def _figures(report: EvaluationReport) -> list[str]:
    parts = [part for each in report.evaluators for part in (each.result, each.baselines) if part]
    return list(dict.fromkeys(figure.name for part in parts for figure in part.figures))


def _figure(name: str) -> FigureMeaning:
    signal = SIGNALS[name]
    return FigureMeaning(unit=signal.unit, meaning=signal.meaning, better=signal.better)


def _tables(report: EvaluatorReport) -> dict[str, TableMeaning]:
    declared = TABLES.get(report.name, {})
    return {name: TableMeaning(**table._asdict()) for name, table in declared.items()}

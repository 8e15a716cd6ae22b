"""Results of the evaluators of a job: figures with intervals, and tables. Loads no tensors."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from trainer.schema.base import Kept

TABLE_ROWS_MAX = 2_000
"""Maximum rows of one table."""
TEXT_MAX = 300
"""Maximum length of a text in a table, and of a note."""

Features = Literal["trained encoder", "untrained encoder", "raw input", "majority class"]
"""Subject of a figure: the encoder, or one of its baselines."""
Interval = Literal["wilson", "bootstrap", "draws"]
"""Kind of a 95 % interval: Wilson's of a share, percentiles of resampled rows, or Student's over
repeated draws."""
Cell = Annotated[str, Field(max_length=TEXT_MAX)] | bool | int | float | None
"""Value in a table; floats are finite."""
Row = dict[Annotated[str, Field(max_length=64)], Cell]
"""Row of a table: column name -> value."""
Rows = Annotated[tuple[Row, ...], Field(strict=False, max_length=TABLE_ROWS_MAX)]


class Table(NamedTuple):
    """Table that an evaluator declares in its TABLES."""

    title: str
    columns: dict[str, str]
    """Column name -> its meaning."""
    x: str = ""
    y: str = ""
    """Columns to draw as a curve; empty: it is no curve."""


class Figure(Kept):
    """One figure, with its 95 % interval."""

    name: Annotated[str, Field(max_length=64)]
    """Name, that of its signal where it is one."""
    value: float
    """Value."""
    n: Annotated[int, Field(ge=0)]
    """Number of rows, queries or draws that it is taken from."""
    low: float | None = None
    """Lower end of the 95 % interval; null without one."""
    high: float | None = None
    """Upper end of the 95 % interval; null without one."""
    interval: Interval | None = None
    """Kind of the interval."""
    features: Features = "trained encoder"
    """Subject of the measurement."""


class Findings(Kept):
    """Result of one evaluator in one round."""

    step: int
    """Optimizer steps done."""
    epoch: float
    """Passes over the dataset done."""
    figures: Annotated[tuple[Figure, ...], Field(strict=False, max_length=500)] = ()
    """Figures."""
    tables: Annotated[dict[str, Rows], Field(max_length=50)] = Field(default_factory=dict)
    """Table name -> its rows."""
    notes: Annotated[
        tuple[Annotated[str, Field(max_length=TEXT_MAX)], ...], Field(strict=False, max_length=20)
    ] = ()
    """Sentences to read with the figures."""


class EvaluatorReport(Kept):
    """Newest result of one evaluator, with its baselines."""

    name: Annotated[str, Field(max_length=64)]
    """Evaluator name."""
    result: Findings | None = None
    """Newest result; null before the first round."""
    baselines: Findings | None = None
    """Same figures of the untrained encoder and of the raw input, measured before the first step.
    """


class EvaluationReport(Kept):
    """Content of `evaluation.json`."""

    evaluators: Annotated[tuple[EvaluatorReport, ...], Field(strict=False)] = ()
    """Evaluators, in the order of the spec."""
    not_measured: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Sentences on evaluators that the dataset does not suit."""

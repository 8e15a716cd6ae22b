"""Results of the evaluators of a job as tables on stdout."""

from collections.abc import Callable, Iterable

from mocoserve.models import Evaluation, EvaluatorResult, Figure, Findings
from service.cli.render.terminal_tables import print_table

ROWS_MAX = 30
"""Rows of a table that are shown."""
BASELINES = ("raw input", "untrained encoder", "majority class")


def print_evaluation(evaluation: Evaluation, *, say: Callable[[str], None]) -> None:
    """Print the figures of each evaluator with interval and baselines, then its tables."""
    for each in evaluation.evaluators:
        if each.result is not None:
            _print_evaluator(evaluation, each, each.result, say)
    for text in evaluation.not_measured:
        say(text)


def _print_evaluator(
    evaluation: Evaluation, each: EvaluatorResult, result: Findings, say: Callable[[str], None]
) -> None:
    say(f"evaluator {each.name}, after step {result.step:,}:")
    baselines = each.baselines.figures if each.baselines else ()
    names = [name for name in BASELINES if any(figure.features == name for figure in baselines)]
    head = ("FIGURE", "VALUE", "95 % INTERVAL", "N", *(name.upper() for name in names))
    print_table(head, (_row(figure, baselines, names) for figure in result.figures))
    for note in result.notes:
        say(note)
    meanings = evaluation.tables.get(each.name, {})
    for name, rows in result.tables.items():
        meaning = meanings.get(name)
        if rows and not (meaning and meaning.x):  # a curve is for the page
            say(f"{meaning.title if meaning else name}:")
            columns = list(dict.fromkeys(column for row in rows for column in row))
            shown = rows[:ROWS_MAX]
            head = tuple(column.replace("_", " ").upper() for column in columns)
            print_table(head, ([_cell(row.get(column)) for column in columns] for row in shown))
            if len(rows) > len(shown):
                say(f"{len(rows) - len(shown):,} more rows: `moco show --json`.")


def _row(figure: Figure, baselines: Iterable[Figure], names: list[str]) -> tuple[str | None, ...]:
    values = {each.features: each.value for each in baselines if each.name == figure.name}
    interval = None
    if figure.low is not None and figure.high is not None:
        interval = f"{figure.low:.4g} to {figure.high:.4g}"
    others = (f"{values[name]:.4g}" if name in values else None for name in names)
    return figure.name, f"{figure.value:.4g}", interval, f"{figure.n:,}", *others


def _cell(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value

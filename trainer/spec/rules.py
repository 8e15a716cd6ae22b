"""Building blocks of default rules. A rule fills one setting that a user left out; no tensors."""

from collections.abc import Callable
from typing import TypeVar

from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec

LABELS_MIN = 2
"""Labels of a balanced batch; with a single one it has no negatives."""
HELD_OUT_SHARE = 0.1
"""Share of labeled rows that the evaluation tests with, where nothing else is named for it."""
POINTS = 300
"""Points per curve: as many as a page can show."""

T = TypeVar("T")
Choice = tuple[object, str]
"""A value, and the reason in a sentence."""
Rule = Callable[[JobSpec, DatasetFacts], Choice]
Rules = tuple[tuple[str, Rule], ...]
"""Dotted field -> its rule, in order: a rule may read what the rules before it filled in."""


def filled(value: T | None) -> T:
    """Return a value that the user stated or a rule before filled in. Raises ValueError."""
    if value is None:
        raise ValueError("a rule reads a field that no rule before it fills")
    return value


def power_of_two_at_most(number: float, *, low: int, high: int) -> int:
    """Return the largest power of two <= number, kept within [low, high]."""
    return max(low, min(high, 1 << max(0, int(number).bit_length() - 1)))


def steps_per_epoch(spec: JobSpec, rows: int) -> int:
    """Return the optimizer steps of one pass over `rows` rows with a resolved spec."""
    batch_rows = filled(spec.batch_rows)
    whole, rest = divmod(rows, batch_rows)
    least = 2 if spec.batching is None else LABELS_MIN * spec.batching.rows_per_label
    return whole + (1 if rest >= least and spec.partial_batch == "keep" else 0)


def steps_of(spec: JobSpec, facts: DatasetFacts) -> int:
    """Return the number of optimizer steps of a job with epochs and batch filled in."""
    return steps_per_epoch(spec, epoch_rows(spec, facts)) * filled(spec.epochs)


def epoch_rows(spec: JobSpec, facts: DatasetFacts) -> int:
    """Return the rows of an epoch: those of the facts, or what balanced batches take of them."""
    if spec.batching is None:
        return facts.rows
    of_label = spec.batching.rows_per_label
    return sum(rows // of_label * of_label for rows in label_rows(spec, facts))


def label_rows(spec: JobSpec, facts: DatasetFacts) -> tuple[int, ...]:
    """Return the rows of each label that are trained on with it.

    An estimate, as facts do not count labels of single splits, nor held-out ones.
    """
    if not facts.labels:
        return ()
    counts = facts.label_rows or (facts.rows // len(facts.labels),) * len(facts.labels)
    splits = facts.splits if spec.use_splits else {}
    share = splits["train"] / max(1, sum(splits.values())) if splits else 1.0
    if spec.evaluators and not spec.test_dataset and not splits.get("test"):
        share *= 1 - HELD_OUT_SHARE
    drawn = getattr(spec.method, "labels_per_class", None)
    return tuple(min(int(count * share), drawn or count) for count in counts)

"""Base of evaluators that measure the same of the encoder and of its baselines."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

from trainer.evaluators.base import Feature, FeatureBank, Measured
from trainer.schema.evaluation import Cell, Features, Figure

SUFFIXES: dict[Features, str] = {
    "raw input": "raw",
    "untrained encoder": "untrained",
    "majority class": "majority",
}
"""Baseline -> end of the names of its signals."""


class ComparedSpec(Protocol):
    """Resolved settings that such an evaluator has."""

    @property
    def name(self) -> str:
        """Name of the evaluator."""

    @property
    def feature(self) -> Feature:
        """Features of the encoder to measure."""

    @property
    def every_epochs(self) -> int:
        """Epochs between its rounds."""

    @property
    def baselines(self) -> bool:
        """True if baselines are to be measured."""


S = TypeVar("S", bound=ComparedSpec)


class Subject(NamedTuple):
    """Features that are measured, and their name in figures."""

    feature: Feature
    features: Features


class ComparedResult(NamedTuple):
    """Figures of one subject, with the tables of the evaluator."""

    figures: tuple[Figure, ...]
    tables: Mapping[str, Sequence[Mapping[str, Cell]]] = MappingProxyType({})
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedEvaluator(ABC, Generic[S]):
    """An evaluator whose baselines are its own figures of raw input and of the untrained encoder.

    A figure is a signal if its name is in `signals`; in `headlines`, those of baselines are too.
    Tables in `baseline_tables` have the rows of both baselines.
    """

    spec: S
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    """Sentences on the rows, to read with every result."""

    signals: ClassVar[frozenset[str]]
    headlines: ClassVar[frozenset[str]] = frozenset()
    baseline_tables: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return the figures of one subject. Raises Stopped."""

    def constant(self) -> tuple[Figure, ...]:
        """Return the figures of a constant answer, `majority class`; none if there is no such."""
        return ()

    @property
    def name(self) -> str:
        """Its name in the spec."""
        return self.spec.name

    @property
    def every_epochs(self) -> int:
        """Epochs between its rounds."""
        return self.spec.every_epochs

    @property
    def has_baselines(self) -> bool:
        """True if baselines are to be measured."""
        return self.spec.baselines

    def measure(self, bank: FeatureBank) -> Measured:
        """Return the figures of the encoder as it is. Raises Stopped."""
        result = self.compare(bank, Subject(self.spec.feature, "trained encoder"))
        signals = {each.name: each.value for each in result.figures if each.name in self.signals}
        return Measured(signals, result.figures, result.tables, notes=(*self.notes, *result.notes))

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return the figures of raw input, the untrained encoder and the constant answer.

        Raises Stopped.
        """
        subjects = Subject("input", "raw input"), Subject(self.spec.feature, "untrained encoder")
        results = [self.compare(bank, subject) for subject in subjects]
        figures = *(each for result in results for each in result.figures), *self.constant()
        signals = {
            f"{figure.name}_{SUFFIXES[figure.features]}": figure.value
            for figure in figures
            if figure.name in self.headlines
        }
        tables = {
            name: [row for result in results for row in result.tables[name]]
            for name in results[0].tables
            if name in self.baseline_tables
        }
        return Measured(signals, figures, tables)

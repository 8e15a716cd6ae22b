"""The evaluators by name. A new one is a folder here, and its spec in `EvaluatorSpec`.

Whatever else an evaluator declares is found in its folder by its name: SIGNALS, ADVICE and, if it
has tables, TABLES in `spec.py`, RULES and, if it has one, `check` in `defaults.py`, `plan` in
`evaluator.py`. Loads no tensors.
"""

from importlib import import_module
from types import ModuleType
from typing import Annotated

from pydantic import Tag

from trainer.evaluators.anomaly.spec import AnomalySpec
from trainer.evaluators.classifier.spec import ClassifierSpec
from trainer.evaluators.clustering.spec import ClusteringSpec
from trainer.evaluators.few_label.spec import FewLabelSpec
from trainer.evaluators.geometry.spec import GeometrySpec
from trainer.evaluators.knn.spec import KnnSpec
from trainer.evaluators.linear.spec import LinearProbeSpec
from trainer.evaluators.retrieval.spec import RetrievalSpec
from trainer.evaluators.segmentation.spec import SegmentationSpec
from trainer.schema.base import by_name, tags_of
from trainer.schema.evaluation import Table
from trainer.schema.signals import Signal

DEFAULT = "knn"
DEFAULTS = {"pretrain": DEFAULT, "finetune": "classifier"}
"""Kind of a job -> its evaluator, unless the spec names others."""
_EvaluatorMember = (
    Annotated[KnnSpec, Tag("knn")]
    | Annotated[LinearProbeSpec, Tag("linear")]
    | Annotated[FewLabelSpec, Tag("few_label")]
    | Annotated[RetrievalSpec, Tag("retrieval")]
    | Annotated[GeometrySpec, Tag("geometry")]
    | Annotated[ClusteringSpec, Tag("clustering")]
    | Annotated[AnomalySpec, Tag("anomaly")]
    | Annotated[SegmentationSpec, Tag("segmentation")]
    | Annotated[ClassifierSpec, Tag("classifier")]
)
EvaluatorSpec = Annotated[
    _EvaluatorMember, by_name(DEFAULT, kind="evaluator", names=tags_of(_EvaluatorMember))
]


def evaluator_names() -> tuple[str, ...]:
    """Return the names of all evaluators."""
    return tags_of(_EvaluatorMember)


def part_of(name: str, part: str) -> ModuleType:
    """Return a module of an evaluator: `spec`, `defaults` or `evaluator`."""
    return import_module(f"trainer.evaluators.{name}.{part}")


TABLES: dict[str, dict[str, Table]] = {
    name: getattr(part_of(name, "spec"), "TABLES", {}) for name in evaluator_names()
}
"""Evaluator -> name of a table of its results -> its title and columns."""
SIGNALS: dict[str, Signal] = {
    signal: meaning
    for name in evaluator_names()
    for signal, meaning in part_of(name, "spec").SIGNALS.items()
}
"""Signals of all evaluators."""

"""An export: a trained encoder with its run, and what turns it into files to download."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from trainer.data.pack.format import Pack
from trainer.exports.model_card.sparklines import Line
from trainer.modalities.base import Loader, Views
from trainer.schema.evaluation import EvaluationReport
from trainer.schema.events import BestReading, DatasetFacts, Profiled
from trainer.spec.resolved import ResolvedSpec
from trainer.util.atomic_files import write_synced
from trainer.util.failpoints import failpoint


@dataclass(frozen=True, slots=True)
class BestEncoder:
    """The encoder of the best checkpoint."""

    reading: BestReading
    """Its step, and the signal that chose it."""
    weights: bytes = field(repr=False)
    """A safetensors file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Files to publish."""

    spec: ResolvedSpec
    reasons: dict[str, str]
    facts: DatasetFacts
    encoder: nn.Module
    """In eval mode, fp32; called with the tensors of a view, gives features [B, feature_dim]."""
    head: nn.Module | None = None
    """Head of a classifier, likewise: features [B, feature_dim] to logits [B, classes]."""
    state: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors of the method beside the encoder, such as heads, by name in its state dict."""
    source: Loader[Any]
    views: Views[Any]
    pack: Pack
    test_pack: Pack | None = None
    """Pack of the test dataset; None without one."""
    history: list[Line]
    """The lines of metrics.jsonl."""
    exact: bool
    step: int
    evaluation: EvaluationReport = field(default_factory=EvaluationReport)
    """Newest results of the evaluators, those of the last step."""
    gpu_precision: Literal["fp32", "bf16"] | None = None
    """Precision of the steps on a GPU, None on a CPU."""
    best: BestEncoder | None = None
    """Encoder of the best checkpoint; None without `best_by`, and if that checkpoint is lost."""
    profile: Profiled | None = None
    """Profile of the run, published next to its files but not part of them."""


class Exporter(Protocol):
    """A module of `trainer.exports.registry.EXPORTERS`.

    It knows rows by `trainer.modalities.outputs` alone. One that a job asks for in `exports` also
    has `loading(export)`, its part of the model card. One with files that weights of any step need
    also has `network(export)`, their bytes by name.
    """

    def files(self, export: Export) -> dict[str, str]:
        """Return the names of its files, each with its meaning for the model card."""

    def write(self, export: Export, folder: Path) -> None:
        """Write its files into a folder that has those of the exporters before it."""


def write_file(folder: Path, name: str, data: bytes) -> None:
    """Write one file of an export and wait for the disk."""
    failpoint("publish.mid_write")
    write_synced(folder / name, data)

"""Jobs as the benchmark runs them: by the trainer in this process, with what they measured."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.suites.breadth.archives import Images
from benchmarks.suites.breadth.figures import Figure, Values
from benchmarks.suites.breadth.lab import Lab, Piece, Task, fingerprint
from trainer.accel.device import DeviceConfig
from trainer.data.pack.format import Pack
from trainer.engine.train import RunPaths, train
from trainer.exports.embeddings import EMBEDDING
from trainer.exports.publish import FOLDER
from trainer.inference.embedder import embed
from trainer.schema.artifact_names import STATE, WEIGHTS
from trainer.schema.events import Evaluated, Event
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec
from trainer.util.atomic_files import replace_file

HEAD = "tower.head."
LAYER_TENSORS = ("weight", "bias", "running_mean", "running_var")
BATCH_NORM_EPS = 1e-5
Settings = Mapping[str, Any]
"""A job spec in words, without dataset and seed."""


@dataclass(slots=True)
class Trained:
    """Folder and last figures of a job, baselines among them."""

    artifacts: Path
    signals: Piece = field(default_factory=dict)

    def record(self, event: Event) -> None:
        """Keep the newest figures."""
        if isinstance(event, Evaluated):
            self.signals |= event.signals


@dataclass(frozen=True, slots=True)
class Embedded:
    """Features of the images of an archive."""

    names: tuple[str, ...]
    labels: NDArray[np.str_]
    values: Values
    """[N, D]."""

    def at(self, rows: NDArray[np.bool_]) -> "Embedded":
        """Return the rows of a mask."""
        names = tuple(name for name, taken in zip(self.names, rows, strict=True) if taken)
        return Embedded(names, self.labels[rows], self.values[rows])


@dataclass(frozen=True, slots=True)
class Experiment:
    """A job that is run once for each seed."""

    name: str
    settings: Settings
    images: Images
    test: Images | None = None

    def spec(self, seed: int) -> ResolvedSpec:
        """Return the job of a seed, with every value."""
        sent = {"dataset": self.images.name, "seed": seed, **self.settings}
        if self.test is not None:
            sent["test_dataset"] = self.test.name
        return resolve(JobSpec.model_validate(sent), Pack.open(self.images.pack).facts).spec

    def run(self, spec: ResolvedSpec, lab: Lab, *, init: Path | None = None) -> Trained:
        """Train to the end; the folder is replaced by that of the next run. Raises TrainerError.

        `init` has the weights of a job with `init_from`.
        """
        out = lab.scratch / "job"
        shutil.rmtree(out, ignore_errors=True)
        trained = Trained(out / FOLDER)
        train(
            spec,
            RunPaths(out, self.images.pack, self.test.pack if self.test else None, init=init),
            device_config=DeviceConfig(device="cpu", threads=lab.threads),
            emit=trained.record,
            should_stop=lambda: False,
        )
        return trained

    def encoder(self, spec: ResolvedSpec, lab: Lab) -> Path:
        """Return the weights of the job's encoder, kept in the work folder; trained if need be."""
        path = self._kept(spec, lab)
        if not path.exists():
            self.keep(self.run(spec, lab), spec, lab)
        return path

    def keep(self, trained: Trained, spec: ResolvedSpec, lab: Lab) -> None:
        """Keep the weights of a trained encoder for other claims."""
        path = self._kept(spec, lab)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (trained.artifacts / WEIGHTS).read_bytes())

    def _kept(self, spec: ResolvedSpec, lab: Lab) -> Path:
        key = fingerprint(spec.model_dump(mode="json"))
        return lab.work / "encoders" / f"{self.name}-{spec.seed}-{key}.safetensors"

    def tasks(self, lab: Lab, measure: Callable[[ResolvedSpec], Piece]) -> list[Task]:
        """Return what is to be measured of the job of each seed by `measure`."""
        specs = [self.spec(seed) for seed in range(lab.seeds)]
        return [
            Task(f"{self.name}-{spec.seed}", spec.model_dump(mode="json"), partial(measure, spec))
            for spec in specs
        ]

    def pieces(self, lab: Lab, measure: Callable[[ResolvedSpec], Piece]) -> list[Piece]:
        """Return what `measure` makes of the job of each seed, or what is kept of it."""
        return lab.pieces(self.tasks(lab, measure))

    def last_signals(self, lab: Lab) -> list[Task]:
        """Return the measurement of the last signals of the job of each seed."""
        return self.tasks(lab, lambda spec: self.run(spec, lab).signals)

    def signals(self, lab: Lab) -> dict[str, Figure]:
        """Return each signal of the job's evaluators over the seeds."""
        return over_seeds(lab.pieces(self.last_signals(lab)))


def over_seeds(pieces: Iterable[Mapping[str, float]]) -> dict[str, Figure]:
    """Return the figures of the seeds' pieces by name."""
    rows = list(pieces)
    return {name: Figure(tuple(row[name] for row in rows)) for name in rows[0]}


def embedded(artifacts: Path, archive: Path, lab: Lab) -> Embedded:
    """Return the features of an archive's images by name, as `moco embed` makes them."""
    out = lab.scratch / "features.parquet"
    out.parent.mkdir(parents=True, exist_ok=True)
    embed(
        artifacts, archive, out=out, device_config=DeviceConfig(device="cpu", threads=lab.threads)
    )
    table = pq.read_table(out).sort_by("name")
    values = np.array(table.column(EMBEDDING).to_pylist(), np.float64)
    labels = np.array([label or "" for label in table.column("label").to_pylist()])
    return Embedded(tuple(table.column("name").to_pylist()), labels, values)


def projected(artifacts: Path, rows: Embedded) -> Embedded:
    """Return the rows after the projection head of a job that exports `training_state`."""
    state = load_file(artifacts / STATE)
    layers = sorted({int(key.split(".")[2]) for key in state if key.startswith(HEAD)})
    values = rows.values
    for layer, following in zip_longest(layers, layers[1:]):
        own = {name: state.get(f"{HEAD}{layer}.{name}") for name in LAYER_TENSORS}
        values = _applied(own, values)
        if following is not None and following > layer + 1:  # a layer without tensors: ReLU
            values = np.maximum(values, 0.0)
    return Embedded(rows.names, rows.labels, values)


def _applied(layer: Mapping[str, NDArray[np.float32] | None], values: Values) -> Values:
    """Return values after a linear layer, or after a batch norm by its running statistics."""
    weight, bias, mean, var = (layer[name] for name in LAYER_TENSORS)
    if mean is not None and var is not None:
        values = (values - mean) / np.sqrt(var + BATCH_NORM_EPS)
        values = values if weight is None else values * weight
    elif weight is not None:
        values = values @ weight.T
    return np.asarray(values if bias is None else values + bias, np.float64)

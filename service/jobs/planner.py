"""Planning of a job: find its datasets, resolve its spec, estimate its cost."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from service.errors import ServiceError, invalid
from service.files.init_weights import ROLE
from service.jobs.idempotency import fingerprint
from service.jobs.init_sources import InitSource, find_init
from service.ledger.journaled_store import JournaledStore
from service.store.records import DatasetRecord, JobRecord, NewJob
from service.store.store import Store
from trainer.exports.spec import installation_warnings
from trainer.modalities.registry import part_of
from trainer.schema.events import DatasetFacts, DataWarning
from trainer.spec.cost import Estimate, estimate, step_work
from trainer.spec.defaults import Resolved, resolve
from trainer.spec.job import JobSpec
from trainer.spec.modality_parts import check_alike
from trainer.spec.resolved import ResolvedSpec
from trainer.spec.scaling import Scaling, scaling

NO_SPEED = "unknown: no comparable job has finished yet"
CPU_FLOPS_PER_S = 1e11
"""Rough training speed of two CPU cores. Those of `benchmarks/results`, with AMX, reach 4e11: 90
rows/s of ResNet-18 at 32 px, 4.4 Gflop each. Most CPUs have no AMX."""
ON_A_CPU = "rough estimate: no comparable run yet; CPU only, ~100 GFLOP/s per worker"
SPEED_JOBS = 100
"""Newest succeeded jobs that are searched for a comparable speed."""
INGEST_POOL = "ingest"
"""Pool for ingests and neighbour searches; a training would keep it busy for hours."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A spec that can be trained."""

    sent: JobSpec
    resolved: Resolved
    facts: DatasetFacts
    dataset_id: str
    inputs: dict[str, str]

    def job(self, job_id: str) -> NewJob:
        """Return the job to queue."""
        spec = self.resolved.spec
        return NewJob(
            kind="train",
            pool=spec.pool,
            name=spec.name or f"{' + '.join(spec.tasks)} {spec.encoder.name} on {spec.dataset}",
            spec_json=self.sent.model_dump_json(exclude_unset=True),
            resolved_json=spec.model_dump_json(),
            reasons_json=json.dumps(self.resolved.reasons),
            inputs=self.inputs,
            folder=f"jobs/{job_id}",
            dataset_id=self.dataset_id,
            max_failures=spec.retry.max_failures,
            slots=spec.resources.slots_per_node,
            nodes=spec.resources.nodes,
        )

    def fingerprint(self) -> str:
        """Return the fingerprint of the spec as it was sent."""
        return fingerprint(self.sent)


def names_in(spec: JobSpec) -> Iterator[str]:
    """Yield the names or ids of the datasets that `spec` needs."""
    yield spec.dataset
    if spec.test_dataset is not None:
        yield spec.test_dataset


def plan(
    sent: JobSpec, datasets: Mapping[str, DatasetRecord], init: InitSource | None = None
) -> Plan:
    """Resolve a spec; `datasets` is what the store has of `names_in(sent)`.

    `init` are the weights that it begins with. The encoder is that of the job which trained them,
    or the one that uploaded weights fit, unless the spec states another one.

    Raises ServiceError `invalid`, `no_dataset`, `dataset_not_ready`, SpecError.
    """
    spec, reasons = _begun(sent, init)
    if spec.pool == INGEST_POOL:
        detail = (
            f"The {INGEST_POOL} pool is for dataset preparation; use another one, such as train."
        )
        raise invalid("#/pool", detail)
    train, facts = _ready(datasets, spec.dataset, "dataset")
    inputs = {"dataset": train.pack or ""}
    if spec.test_dataset is not None:
        test, test_facts = _ready(datasets, spec.test_dataset, "test_dataset")
        _check_labels(facts, test_facts)
        check_alike(facts, test_facts)
        inputs["test_dataset"] = test.pack or ""
    resolved = resolve(spec, facts)
    if init is not None:
        inputs[ROLE] = init.path
        _check_encoder(resolved.spec, init)
    reasons = reasons | resolved.reasons
    return Plan(sent, Resolved(resolved.spec, reasons), facts, train.id, inputs)


def _begun(sent: JobSpec, init: InitSource | None) -> tuple[JobSpec, dict[str, str]]:
    """Return a spec with its weights pinned, and with their encoder unless it states one."""
    if init is None:
        return sent, {}
    spec = sent.model_copy(update={"init_from": init.pinned})
    if "encoder" in sent.model_fields_set:
        return spec, {}
    if init.donor is None:
        encoder = _weights_of(spec).encoder_of_weights(init.shapes)
        reason = f"the encoder that fits {init.pinned.weights}"
    else:
        encoder = _weights_of(init.donor).encoder_like(init.donor)
        reason = f"the encoder of {init.pinned.job}"
    if encoder is None:
        return spec, {}
    return spec.model_copy(update={"encoder": encoder}), {"encoder.name": reason}


def _check_encoder(spec: ResolvedSpec, init: InitSource) -> None:
    """Raise SpecError unless weights fit the encoder: those of a job by its spec."""
    if init.donor is not None:
        _weights_of(spec).check_encoder_like(spec, init.donor)
    else:
        _weights_of(spec).check_weights(spec, init.shapes)


def _weights_of(spec: JobSpec) -> ModuleType:
    return part_of(spec.views.modality, "starting_weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """Resolved spec of a job with its cost, before it is run."""

    resolved: dict[str, Any]
    reasons: dict[str, str]
    steps: int
    eta_s: float | None
    eta_basis: str
    memory_bytes: int
    scaling: Scaling
    warnings: tuple[DataWarning, ...]


def preview(sent: JobSpec, journal: JournaledStore) -> PlannedJob:
    """Return the job as it would run, with its cost.

    Raises as `plan` and `find_init`, and StoreUnavailable.
    """
    store, init = journal.store, find_init(sent, journal)
    planned = plan(sent, store.datasets.find(names_in(sent)), init)
    spec = planned.resolved.spec
    cost = estimate(spec, planned.facts)
    eta_s, basis = _time(spec, cost, store)
    return PlannedJob(
        resolved=json.loads(spec.model_dump_json()),
        reasons=planned.resolved.reasons,
        steps=cost.steps,
        eta_s=eta_s,
        eta_basis=basis,
        memory_bytes=cost.memory_bytes,
        scaling=scaling(step_work(spec, planned.facts), spec.resources.gpus),
        warnings=(
            *part_of(spec.views.modality, "defaults").warnings(spec, planned.facts),
            *installation_warnings(spec),
        ),
    )


def _ready(
    datasets: Mapping[str, DatasetRecord], name: str, field: str
) -> tuple[DatasetRecord, DatasetFacts]:
    record = datasets.get(name)
    if record is None:
        raise invalid(f"#/{field}", f"There is no dataset {name[:128]!r}.", code="no_dataset")
    if record.status != "ready" or record.facts is None or record.pack is None:
        detail = f"#/{field}: dataset {record.name} is {record.status}."
        raise ServiceError("dataset_not_ready", detail, hint=record.hint or None)
    return record, record.facts


def _check_labels(train: DatasetFacts, test: DatasetFacts) -> None:
    """Raise ServiceError unless both datasets have the same classes, by number."""
    if not test.labels:
        raise invalid("#/test_dataset", "It has no labels, so it cannot be used for evaluation.")
    if train.labels and not set(test.labels) <= set(train.labels):
        strange = sorted(set(test.labels) - set(train.labels))[:5]
        raise invalid("#/test_dataset", f"Its labels {strange} are not among the dataset's.")


def _time(spec: ResolvedSpec, cost: Estimate, store: Store) -> tuple[float | None, str]:
    """Return the estimated seconds and the basis of the estimate."""
    rows = cost.steps * spec.batch_rows
    speed = _speed(spec, store)
    if speed is not None:
        return rows / speed[1], _basis(spec, *speed)
    there = [
        worker
        for worker in store.workers.list()
        if spec.pool in worker.pools and worker.state != "lost"
    ]
    if there and all(worker.device == "cpu" for worker in there):
        return rows * cost.flops_per_row / CPU_FLOPS_PER_S, ON_A_CPU
    return None, NO_SPEED


def _speed(spec: ResolvedSpec, store: Store) -> tuple[JobRecord, float] | None:
    """Return the newest succeeded job with this encoder, side and number of GPUs, and its speed."""
    for record in store.jobs.list(status="succeeded", limit=SPEED_JOBS).data:
        ran = json.loads(record.resolved_json)
        # A job of an earlier version lacks the fields that came later.
        views = dict(type(spec.views).model_construct()) | ran.get("views", {})
        alike = ran.get("encoder", {}).get("name") == spec.encoder.name and all(
            views[name] == getattr(spec.views, name) for name in spec.views.size_fields
        )
        alike = alike and ran.get("resources", {}).get("gpus", 1) == spec.resources.gpus
        rows_per_s = record.progress.get("rows_per_s")
        if alike and isinstance(rows_per_s, int | float) and rows_per_s > 0:
            return record, float(rows_per_s)
    return None


def _basis(spec: ResolvedSpec, record: JobRecord, rows_per_s: float) -> str:
    views = f", {spec.views.count} views" if spec.views.count > 2 else ""
    what = f"{spec.encoder.name} at {spec.views.size}{views}"
    return f"the speed of {record.id}: {rows_per_s:.0f} rows/s with {what}"

"""Every metric of every process, as one table, and the instruments made from it.

Registries, dashboards, documentation and tests are checked against `METRICS`. `job_id` is a label
only of series of running jobs, and never of a histogram: `Instruments.forget_job` ends them.
"""

import platform
import threading
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from service.observability.metric_definitions import (
    HTTP_BUCKETS_S,
    LABEL_VALUES,
    RUN_BUCKETS_S,
    STEP_BUCKETS_S,
    WAIT_BUCKETS_S,
    Metric,
    Target,
    gpu,
    histogram,
    job,
    scalar,
)
from trainer.methods.registry import declared
from trainer.spec.signal_tables import SIGNALS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


METRICS: tuple[Metric, ...] = (
    Metric(
        "moco_build_info",
        "gauge",
        ("api", "worker", "state"),
        ("version", "python"),
        "Version information; always 1.",
    ),
    # The API.
    scalar(
        "api",
        "moco_http_requests_total",
        "HTTP requests, by route template.",
        *("handler", "method", "status"),
    ),
    histogram(
        "api",
        "moco_http_request_duration_seconds",
        "Time to first byte, by route template.",
        HTTP_BUCKETS_S,
        *("handler", "method"),
    ),
    scalar(
        "api",
        "moco_http_slow_clients_total",
        "Connections closed because the client was too slow.",
        "stage",
    ),
    scalar("api", "moco_auth_failures_total", "Requests rejected for a missing or wrong key."),
    scalar("api", "moco_upload_bytes_total", "Bytes of datasets received."),
    scalar("api", "moco_artifact_downloads_total", "Artifact downloads started.", "format"),
    scalar("api", "moco_artifact_bytes_sent_total", "Bytes of artifacts sent."),
    # The state exporter.
    scalar("state", "moco_jobs", "Number of jobs.", "status"),
    scalar("state", "moco_jobs_submitted_total", "Jobs accepted."),
    scalar("state", "moco_jobs_finished_total", "Jobs ended.", "result"),
    scalar("state", "moco_job_retries_total", "Attempts that were retried.", "reason"),
    scalar("state", "moco_queue_jobs", "Jobs waiting for a worker.", "pool"),
    scalar(
        "state",
        "moco_queue_oldest_enqueued_timestamp_seconds",
        "Submit time of the oldest queued job that fits a worker; 0 if there is none.",
        "pool",
    ),
    scalar(
        "state",
        "moco_queue_waiting",
        "Jobs waiting for a worker, by the reason why they have not started.",
        *("pool", "waiting_reason"),
    ),
    scalar(
        "state",
        "moco_queue_idle_workers",
        "Idle workers; if jobs are queued, those that could run one of them now.",
        "pool",
    ),
    scalar("state", "moco_workers", "Known workers.", "state"),
    scalar(
        "state",
        "moco_worker_last_heartbeat_timestamp_seconds",
        "Time of the last heartbeat of a worker.",
        "worker",
    ),
    scalar("state", "moco_dataset_images_total", "Files processed by ingest.", "outcome"),
    scalar("state", "moco_dataset_bytes_ingested_total", "Bytes of datasets ingested."),
    scalar("state", "moco_storage_free_bytes", "Free space of a volume.", "volume"),
    scalar("state", "moco_storage_total_bytes", "Size of a volume.", "volume"),
    scalar("state", "moco_storage_used_bytes", "Disk usage of the data folder.", "use"),
    scalar("state", "moco_redis_up", "1 if the last collection reached Redis, else 0."),
    scalar("state", "moco_state_collect_duration_seconds", "Time of the last collection."),
    scalar("state", "moco_state_collect_errors_total", "Failed collections."),
    # The worker.
    scalar(
        "worker", "moco_worker_info", "Worker information; always 1.", "worker", "device", "torch"
    ),
    scalar(
        "worker", "moco_worker_running_job", "1 while the worker runs this job.", "worker", "job_id"
    ),
    scalar("worker", "moco_worker_slots", "Training processes that can run at a time.", "worker"),
    scalar("worker", "moco_worker_slots_busy", "Slots that running jobs hold.", "worker"),
    scalar(
        "worker",
        "moco_worker_runs_total",
        "Training and ingest processes ended, by reason.",
        "code",
    ),
    histogram(
        "worker",
        "moco_job_queue_wait_seconds",
        "Time from submission to the first claim.",
        WAIT_BUCKETS_S,
    ),
    histogram(
        "worker",
        "moco_job_run_duration_seconds",
        "Time from claim to end, one observation per attempt.",
        RUN_BUCKETS_S,
    ),
    histogram(
        "worker",
        "moco_worker_step_duration_seconds",
        "Duration of an optimizer step, as the mean between two readings.",
        STEP_BUCKETS_S,
        "worker",
    ),
    gpu("info", "GPU information; always 1.", "uuid", "name", "driver"),
    gpu("up", "1 if the driver answers for the GPU, else 0."),
    gpu("utilization_ratio", "Share of time in which a kernel ran."),
    gpu("memory_used_bytes", "Memory in use by all processes."),
    gpu("memory_total_bytes", "Total GPU memory."),
    gpu("temperature_celsius", "GPU temperature."),
    gpu("power_watts", "Power drawn."),
    gpu("energy_joules_total", "Energy used since the driver was loaded."),
    # One running job, on its worker.
    Metric(
        "moco_job_info",
        "gauge",
        ("worker",),
        ("job_id", "name", "arch", "dataset", "worker"),
        "Information about a running job, for joins; always 1.",
    ),
    job("batch_size", "Batch size, in images."),
    job("dataset_images", "Number of images in the dataset, N."),
    job("steps_planned", "Optimizer steps of the whole job."),
    *(
        job(signal.metric, _sentence(signal.meaning), name)
        for name, signal in SIGNALS.items()
        if signal.metric
    ),
    *(job(name, _sentence(setting.meaning)) for name, setting in declared("SETTINGS").items()),
    job("weight_decay", "Weight decay of the optimizer."),
    job("checkpoint_interval_seconds", "Requested maximum training time between two checkpoints."),
    job("started_timestamp_seconds", "Time when this attempt started training."),
    job("epoch", "Completed epochs, fractional."),
    job("progress_ratio", "Completed share of the planned steps."),
    job("expected_end_timestamp_seconds", "Estimated end time at the current speed."),
    job("last_step_timestamp_seconds", "Time of the last reported step."),
    job("last_checkpoint_timestamp_seconds", "Time of the last checkpoint."),
    job("steps_total", "Optimizer steps of this attempt."),
    job("images_total", "Images trained on in this attempt."),
)

SIGNAL_METRICS: dict[str, str] = {row.signal: row.name for row in METRICS if row.signal}
"""Name of a training signal -> name of the metric that shows it."""


class Instruments:
    """The metrics of one target, in a registry of their own. Safe to use from several threads.

    `set`, `inc`, `observe` and `total` take the metric's name and its labels; a wrong name is a
    KeyError, a wrong label a ValueError.
    """

    def __init__(self, registry: CollectorRegistry, target: Target) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # halves the counters' series
        ProcessCollector(registry=registry)
        self.registry, self.target = registry, target
        self._made = {row.name: _make(row, registry) for row in METRICS if target in row.targets}
        self._totals: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self.set("moco_build_info", 1, version=_version(), python=platform.python_version())

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # Gauge, Counter or Histogram
        """Return the instrument as prometheus_client has it."""
        return self._made[name]

    def _child(self, metric: str, labels: dict[str, str]) -> Any:  # noqa: ANN401
        made = self._made[metric]
        return made.labels(**labels) if labels else made

    def set(self, metric: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        self._child(metric, labels).set(value)

    def inc(self, metric: str, by: float = 1.0, /, **labels: str) -> None:
        """Raise a counter by `by` >= 0."""
        self._child(metric, labels).inc(by)

    def observe(self, metric: str, seconds: float, /, **labels: str) -> None:
        """Add one observation to a histogram."""
        self._child(metric, labels).observe(seconds)

    def total(self, metric: str, value: float, /, **labels: str) -> None:
        """Raise a counter to a total that is counted elsewhere; a total that fell starts over."""
        key = (metric, tuple(sorted(labels.items())))
        with self._lock:
            child, before = self._child(metric, labels), self._totals.get(key, 0.0)
            if value < before:
                child.reset()
                before = 0.0
            child.inc(value - before)
            self._totals[key] = value

    def forget(self, label: str, value: str) -> None:
        """Remove every series that has this label value."""
        with self._lock:
            for row in METRICS:
                if label in row.labels and row.name in self._made:
                    self._made[row.name].remove_by_labels({label: value})
            self._totals = {k: v for k, v in self._totals.items() if (label, value) not in k[1]}

    def drop(self, metric: str, /, **labels: str) -> None:
        """Remove one series, if it is there: its value is not known any more."""
        with self._lock:
            self._made[metric].remove_by_labels(labels)
            self._totals.pop((metric, tuple(sorted(labels.items()))), None)

    def forget_job(self, job_id: str) -> None:
        """Remove the series of a job, two scrapes after its end."""
        self.forget("job_id", job_id)

    def render(self) -> bytes:
        """Return the page of `/metrics`, in the text format that `CONTENT_TYPE` names."""
        return generate_latest(self.registry)


def artifact_format(name: str) -> str:
    """Return the label `format` of a file name: its suffix, or `other`."""
    suffix = name.rpartition(".")[2]
    return suffix if suffix in LABEL_VALUES["format"] else "other"


def _version() -> str:
    try:
        return version("mocoserve")
    except PackageNotFoundError:
        return "unknown"  # run from a folder that was never installed


def _make(row: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    made: Counter | Gauge | Histogram
    if row.type == "histogram":
        made = Histogram(row.name, row.help, row.labels, registry=registry, buckets=row.buckets)
    elif row.type == "counter":
        made = Counter(row.name, row.help, row.labels, registry=registry)
    else:
        made = Gauge(row.name, row.help, row.labels, registry=registry)
    if row.labels and all(label in LABEL_VALUES for label in row.labels):
        for values in product(*(LABEL_VALUES[label] for label in row.labels)):
            made.labels(*values)
    return made

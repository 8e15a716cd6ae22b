"""Every metric of every process, as one table, and the instruments made from it.

Registries, dashboards, documentation and tests are checked against `METRICS`. `job_id` is a label
only of series of running jobs, and never of a histogram: `Instruments.forget_job` ends them.
"""

import threading
from itertools import product
from typing import Any, Literal, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

Target = Literal["api", "worker", "state"]
Type = Literal["gauge", "counter", "histogram"]
Labels = tuple[str, ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

KNOWN: dict[str, Labels] = {
    "status": ("queued", "running", "stopping", "paused", "cancelled", "succeeded", "failed"),
    "state": ("idle", "busy", "draining", "lost"),
    "result": ("succeeded", "failed", "cancelled"),
    "reason": ("worker_lost", "preempted", "failure"),
    "outcome": ("ok", "bad", "duplicate"),
    "format": ("safetensors", "pth", "json", "md", "parquet", "png", "other"),
}
"""Label values known in advance: their series stand at 0 from the start."""

JOB = ("job_id",)
WORKER = ("worker",)
GPU = ("worker", "gpu")
HTTP_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
WAIT_BUCKETS_S = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0)
RUN_BUCKETS_S = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0)
STEP_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metric(NamedTuple):
    """One row of the contract."""

    name: str
    """As a query writes it, without the `_bucket`, `_sum` and `_count` of a histogram."""
    type: Type
    targets: tuple[Target, ...]
    labels: Labels
    help: str
    signal: str | None = None
    """The training signal that it shows (`trainer.events.SIGNALS`)."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in seconds."""


def _row(target: Target, name: str, help_: str, *labels: str, signal: str | None = None) -> Metric:
    """A gauge, or a counter where the name ends in `_total`."""
    kind: Type = "counter" if name.endswith("_total") else "gauge"
    return Metric(name, kind, (target,), labels, help_, signal)


def _histogram(
    target: Target, name: str, help_: str, buckets: tuple[float, ...], *labels: str
) -> Metric:
    return Metric(name, "histogram", (target,), labels, help_, None, buckets)


def _job(name: str, help_: str, signal: str | None = None) -> Metric:
    """A metric of one running job."""
    return _row("worker", f"moco_train_{name}", help_, *JOB, signal=signal)


def _gpu(name: str, help_: str, *labels: str) -> Metric:
    """A metric of one GPU; it has series only where the driver answers."""
    return _row("worker", f"moco_worker_gpu_{name}", help_, *GPU, *labels)


METRICS: tuple[Metric, ...] = (
    Metric(
        "moco_build_info",
        "gauge",
        ("api", "worker", "state"),
        ("version", "python"),
        "Always 1: what runs.",
    ),
    # The API.
    _row(
        "api",
        "moco_http_requests_total",
        "Requests answered, by route template.",
        *("handler", "method", "status"),
    ),
    _histogram(
        "api",
        "moco_http_request_duration_seconds",
        "Time until the answer begins, by route template.",
        HTTP_BUCKETS_S,
        *("handler", "method"),
    ),
    _row("api", "moco_auth_failures_total", "Requests refused for a missing or wrong key."),
    _row("api", "moco_upload_bytes_total", "Bytes of datasets received."),
    _row("api", "moco_artifact_downloads_total", "Artifact downloads begun.", "format"),
    _row("api", "moco_artifact_bytes_sent_total", "Bytes of artifacts sent."),
    # The state exporter.
    _row("state", "moco_jobs", "Jobs that exist.", "status"),
    _row("state", "moco_jobs_submitted_total", "Jobs accepted."),
    _row("state", "moco_jobs_finished_total", "Jobs that came to an end.", "result"),
    _row("state", "moco_job_retries_total", "Attempts that had to be repeated.", "reason"),
    _row("state", "moco_queue_jobs", "Jobs that wait for a worker.", "pool"),
    _row(
        "state",
        "moco_queue_oldest_enqueued_timestamp_seconds",
        "When the job that waits longest was submitted; 0 if none waits.",
        "pool",
    ),
    _row("state", "moco_workers", "Workers that are known.", "state"),
    _row(
        "state",
        "moco_worker_last_heartbeat_timestamp_seconds",
        "When a worker was last heard of.",
        "worker",
    ),
    _row("state", "moco_storage_free_bytes", "Free space of a volume.", "volume"),
    _row("state", "moco_redis_up", "1 if the last collection reached Redis, else 0."),
    _row("state", "moco_state_collect_duration_seconds", "Time of the last collection."),
    _row("state", "moco_state_collect_errors_total", "Collections that failed."),
    # The worker.
    _row("worker", "moco_worker_info", "Always 1: what a worker is.", *WORKER, "device", "torch"),
    _row("worker", "moco_worker_running_job", "1 while a worker runs a job.", *WORKER, *JOB),
    _row("worker", "moco_dataset_bytes_ingested_total", "Bytes of datasets read by ingest."),
    _row("worker", "moco_dataset_images_total", "Images that ingest has seen.", "outcome"),
    _histogram(
        "worker",
        "moco_job_queue_wait_seconds",
        "From submission to the first claim.",
        WAIT_BUCKETS_S,
    ),
    _histogram(
        "worker",
        "moco_job_run_duration_seconds",
        "From claim to end, one observation for each attempt.",
        RUN_BUCKETS_S,
    ),
    _histogram(
        "worker",
        "moco_worker_step_duration_seconds",
        "Seconds of an optimizer step, as the mean between two readings.",
        STEP_BUCKETS_S,
        "worker",
    ),
    _gpu("info", "Always 1: what a GPU is.", "uuid", "name", "driver"),
    _gpu("utilization_ratio", "Share of time in which a kernel ran."),
    _gpu("memory_used_bytes", "Memory in use by all processes."),
    _gpu("memory_total_bytes", "Memory of the GPU."),
    _gpu("temperature_celsius", "Temperature of the chip."),
    _gpu("power_watts", "Power drawn."),
    _gpu("energy_joules_total", "Energy used since the driver was loaded."),
    # One running job, on its worker.
    Metric(
        "moco_job_info",
        "gauge",
        ("worker",),
        ("job_id", "name", "arch", "dataset", "worker"),
        "Always 1: what a running job is, to join with the others.",
    ),
    _job("queue_size", "K, the keys that the NegativeQueue holds when full."),
    _job("batch_size", "Rows of one optimizer step."),
    _job("dataset_images", "N, rows of the dataset."),
    _job("steps_planned", "Optimizer steps of the whole job."),
    _job("loss", "InfoNCE in nats. It rises at first, while the queue fills.", "loss"),
    _job("chance_loss", "ln(1 + K): the loss of guessing.", "chance_loss"),
    _job("contrastive_top1_ratio", "Queries whose own key is nearest.", "top1"),
    _job("contrastive_top5_ratio", "Queries whose own key is among five nearest.", "top5"),
    _job("positive_similarity", "Mean cosine of query and own key.", "positive_similarity"),
    _job("negative_similarity", "Mean cosine of query and negatives.", "negative_similarity"),
    _job("embedding_std_ratio", "Std x sqrt(d): 1 healthy, 0 collapsed.", "embedding_std_ratio"),
    _job(
        "embedding_effective_rank",
        "Dimensions in use: exp of the entropy of the singular values.",
        "embedding_effective_rank",
    ),
    _job("knn_top1_ratio", "Test rows that their neighbours classify rightly.", "knn_top1"),
    _job("queue_filled_ratio", "Share of the queue held by real keys.", "negatives_fill_ratio"),
    _job("queue_oldest_key_age_steps", "Age of the oldest negative.", "oldest_key_age_steps"),
    _job("queue_dataset_ratio", "K / N; above 1 rows meet own old keys.", "queue_dataset_ratio"),
    _job(
        "key_encoder_distance_ratio",
        "|theta_q - theta_k| / |theta_q|: how far the key encoder lags.",
        "key_encoder_distance_ratio",
    ),
    _job("learning_rate", "Learning rate of the last step.", "lr"),
    _job("grad_norm", "L2 norm of the last gradient.", "grad_norm"),
    _job("key_momentum_ratio", "m of the key encoder."),
    _job("temperature", "T of InfoNCE."),
    _job("memory_peak_bytes", "Peak memory of device, or of process on CPU.", "memory_bytes"),
    _job("epoch", "Epochs done, with their fraction."),
    _job("progress_ratio", "Steps done, as a share of those planned."),
    _job("expected_end_timestamp_seconds", "When the job should end at its present speed."),
    _job("last_step_timestamp_seconds", "When a step was last heard of."),
    _job("last_checkpoint_timestamp_seconds", "When a checkpoint was last written."),
    _job("steps_total", "Optimizer steps of this attempt."),
    _job("images_total", "Rows trained on in this attempt."),
    _job("step_seconds_total", "Seconds in optimizer steps.", "step_s"),
    _job("data_wait_seconds_total", "Seconds spent on rows and views.", "data_s"),
    _job("checkpoint_blocked_seconds_total", "Seconds blocked by checkpoints.", "checkpoint_s"),
    _job("eval_seconds_total", "Seconds of evaluation.", "eval_s"),
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

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # Gauge, Counter or Histogram
        """The instrument itself, as prometheus_client has it."""
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
        """Bring a counter to a total that someone else counts; one that fell starts again."""
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

    def forget_job(self, job_id: str) -> None:
        """Remove the series of a job, two scrapes after its end."""
        self.forget("job_id", job_id)

    def render(self) -> bytes:
        """The page of `/metrics`, in the text format that `CONTENT_TYPE` names."""
        return generate_latest(self.registry)


def artifact_format(name: str) -> str:
    """The label `format` of a file name: its suffix, or `other`."""
    suffix = name.rpartition(".")[2]
    return suffix if suffix in KNOWN["format"] else "other"


def _make(row: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    made: Counter | Gauge | Histogram
    if row.type == "histogram":
        made = Histogram(row.name, row.help, row.labels, registry=registry, buckets=row.buckets)
    elif row.type == "counter":
        made = Counter(row.name, row.help, row.labels, registry=registry)
    else:
        made = Gauge(row.name, row.help, row.labels, registry=registry)
    if row.labels and all(label in KNOWN for label in row.labels):
        for values in product(*(KNOWN[label] for label in row.labels)):
            made.labels(*values)
    return made

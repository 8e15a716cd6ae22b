"""Definition of one metric: types, known label values, buckets."""

from typing import Literal, NamedTuple

from service.files.disk_usage import USES

Target = Literal["api", "worker", "state"]
Type = Literal["gauge", "counter", "histogram"]
Labels = tuple[str, ...]

LABEL_VALUES: dict[str, Labels] = {
    "status": ("queued", "running", "stopping", "paused", "cancelled", "succeeded", "failed"),
    "state": ("idle", "busy", "draining", "lost"),
    "result": ("succeeded", "failed", "cancelled"),
    "reason": ("worker_lost", "preempted", "failure"),
    "waiting_reason": ("no_worker_fits", "no_worker", "workers_draining", "waiting_for_slots"),
    "outcome": ("ok", "bad", "duplicate"),
    "code": (
        *("ok", "stopped", "internal", "trainer_error", "bad_spec", "bad_dataset"),
        *("dataset_missing", "nonfinite_loss", "oom", "storage", "bad_checkpoint"),
        *("bad_image", "encoder_gone", "device", "rank_lost", "diverged_ranks"),
    ),
    "use": USES,
    "stage": ("head", "body", "answer", "crowd"),
    "format": ("safetensors", "pth", "onnx", "json", "md", "parquet", "png", "other"),
}
"""Label values known in advance: their series stand at 0 from the start.

`code` is how a run ended: that of `trainer.schema.errors`, or `ok`, `stopped`, `internal`.
"""

JOB = ("job_id",)
WORKER = ("worker",)
GPU = ("worker", "gpu")
HTTP_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
WAIT_BUCKETS_S = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0)
RUN_BUCKETS_S = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0)
STEP_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metric(NamedTuple):
    """Definition of one metric."""

    name: str
    """Name in queries, without the `_bucket`, `_sum` and `_count` of a histogram."""
    type: Type
    targets: tuple[Target, ...]
    labels: Labels
    help: str
    signal: str | None = None
    """The training signal that it shows (`trainer.spec.signal_tables.SIGNALS`)."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in seconds."""


def scalar(
    target: Target, name: str, help_: str, *labels: str, signal: str | None = None
) -> Metric:
    """Define a gauge, or a counter if the name ends in `_total`."""
    kind: Type = "counter" if name.endswith("_total") else "gauge"
    return Metric(name, kind, (target,), labels, help_, signal)


def histogram(
    target: Target, name: str, help_: str, buckets: tuple[float, ...], *labels: str
) -> Metric:
    """Define a histogram; the upper bounds of its buckets are in seconds."""
    return Metric(name, "histogram", (target,), labels, help_, None, buckets)


def job(name: str, help_: str, signal: str | None = None) -> Metric:
    """Define a metric of one running job."""
    return scalar("worker", f"moco_train_{name}", help_, *JOB, signal=signal)


def gpu(name: str, help_: str, *labels: str) -> Metric:
    """Define a metric of one GPU; it has series only where the driver answers."""
    return scalar("worker", f"moco_worker_gpu_{name}", help_, *GPU, *labels)

"""Prometheus metrics of one worker: its training jobs, its GPUs, itself.

The child sends numbers over its pipe and this process exports them, so a killed child leaves no
series behind. `job_id` is a label only while a job runs and for two scrapes after.
"""

import threading
import time
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from service.observability.metric_definitions import LABEL_VALUES
from service.observability.metrics import SIGNAL_METRICS, Instruments
from service.store.records import JobRecord, Lease
from trainer.methods.registry import part_of
from trainer.schema.events import Checkpointed, Ended, Evaluated, Started, Stepped
from trainer.spec.job import JobSpec
from worker.attempt.progress import PendingEvent, Progress
from worker.attempt.workspace import AnySpec
from worker.slots import CPU, SlotPool
from worker.telemetry.gpu_metrics import GpuMetrics
from worker.telemetry.host_info import installed

SCRAPES_KEPT = 2
"""Scrapes that still see the series of an ended job."""


@dataclass
class _RunningJob:
    """State that the metrics of a job are computed from."""

    attempt: int
    spec: AnySpec
    readings: dict[str, float] = field(default_factory=dict)

    def increase(self, name: str, value: float) -> float:
        """Return how much a reading has grown since the last one; 0 if it fell."""
        before, self.readings[name] = self.readings.get(name, 0.0), value
        return max(0.0, value - before)


class WorkerMetrics:
    """Metrics of one worker. Safe to use from several threads."""

    def __init__(self, worker_id: str, *, device: str, slots: SlotPool, scrape_s: float) -> None:
        self._worker, self._slots, self._scrape_s = worker_id, slots, scrape_s
        self._metrics = Instruments(CollectorRegistry(), "worker")
        gpus = (device for device in slots.devices if device != CPU)
        self._gpus = GpuMetrics(self._metrics, worker_id, gpus)
        self._lock = threading.Lock()
        self._forget_at_s: dict[str, float] = {}
        self._running: dict[str, _RunningJob] = {}
        torch = installed("torch") or ""
        self._metrics.set("moco_worker_info", 1, worker=worker_id, device=device, torch=torch)

    def render(self) -> bytes:
        """Return the body of `/metrics`; drops ended jobs and reads the GPUs."""
        now_s = time.monotonic()
        with self._lock:
            over = [job for job, at_s in self._forget_at_s.items() if now_s >= at_s]
            for job_id in over:
                del self._forget_at_s[job_id]
                self._metrics.forget_job(job_id)
        self._metrics.set("moco_worker_slots", len(self._slots), worker=self._worker)
        self._metrics.set("moco_worker_slots_busy", self._slots.busy, worker=self._worker)
        self._gpus.update()
        return self._metrics.render()

    def job_started(self, lease: Lease, spec: AnySpec) -> None:
        """Start the series of a job."""
        with self._lock:
            self._forget_at_s.pop(lease.job_id, None)
            self._running[lease.job_id] = _RunningJob(lease.attempt, spec)
        self._metrics.forget_job(lease.job_id)  # of an earlier attempt here: counters restart at 0
        self._metrics.set("moco_worker_running_job", 1, worker=self._worker, job_id=lease.job_id)
        if isinstance(spec, JobSpec):
            self._describe(lease, spec)

    def job_ended(self, lease: Lease, run_s: float, record: JobRecord | None) -> None:
        """End the series of a job; `record` has its times, None if the store did not answer."""
        if lease.kind != "probe":  # its seconds would skew the histogram of trainings
            self._metrics.observe("moco_job_run_duration_seconds", run_s)
        if record and record.started_at_s and lease.attempt == 1 and lease.kind != "probe":
            waited_s = max(0.0, record.started_at_s - record.created_at_s)
            self._metrics.observe("moco_job_queue_wait_seconds", waited_s)
        with self._lock:
            running = self._running.get(lease.job_id)
            if running and running.attempt > lease.attempt:
                return  # lost here, and begun anew in another slot
            self._running.pop(lease.job_id, None)
            self._forget_at_s[lease.job_id] = time.monotonic() + SCRAPES_KEPT * self._scrape_s
        self._metrics.set("moco_worker_running_job", 0, worker=self._worker, job_id=lease.job_id)

    def take(self, job_id: str, pending: PendingEvent) -> None:
        """Update the metrics from an event."""
        event, running = pending.event, self._running.get(job_id)
        if isinstance(event, Started):
            if running:
                running.increase("step", event.step)
            self._job(job_id, "started_timestamp_seconds", time.time())
            self._job(job_id, "dataset_images", event.rows)
            self._job(job_id, "steps_planned", event.steps_planned)
        elif isinstance(event, Stepped | Evaluated):
            self._signals(job_id, event.signals)
            if running:
                self._update_progress(job_id, event, pending.progress, running)
        elif isinstance(event, Checkpointed):
            self._job(job_id, "last_checkpoint_timestamp_seconds", time.time())
        elif isinstance(event, Ended):
            is_known = event.code in LABEL_VALUES["code"]
            self._metrics.inc("moco_worker_runs_total", code=event.code if is_known else "internal")

    def _describe(self, lease: Lease, spec: JobSpec) -> None:
        self._metrics.set(
            "moco_job_info",
            1,
            job_id=lease.job_id,
            name=spec.name or "",
            arch=spec.encoder.name,
            dataset=spec.dataset,
            worker=self._worker,
        )
        for name, value in (
            *(
                (metric, getattr(spec.method, setting.field))
                for metric, setting in part_of(spec.method.name, "spec").SETTINGS.items()
            ),
            ("batch_size", spec.batch_rows),
            ("weight_decay", spec.optim.weight_decay),
            ("checkpoint_interval_seconds", spec.checkpoint_every_s),
        ):
            if value is not None:
                self._job(lease.job_id, name, value)

    def _signals(self, job_id: str, signals: dict[str, float]) -> None:
        for signal, value in signals.items():
            metric = SIGNAL_METRICS.get(signal)
            if metric and metric.endswith("_total"):
                self._metrics.total(metric, value, job_id=job_id)
            elif metric:
                self._metrics.set(metric, value, job_id=job_id)

    def _update_progress(
        self, job_id: str, event: Stepped | Evaluated, progress: Progress, running: _RunningJob
    ) -> None:
        """Update steps, times and the mean duration of a step since the last reading."""
        spec = running.spec
        self._job(job_id, "epoch", event.epoch)
        self._job(job_id, "progress_ratio", event.step / max(1, progress.get("steps", 1)))
        if progress.get("eta_s") is not None:
            ends_s = time.time() + progress["eta_s"]
            self._job(job_id, "expected_end_timestamp_seconds", ends_s)
        if not isinstance(event, Stepped):
            return
        self._job(job_id, "last_step_timestamp_seconds", time.time())
        steps = running.increase("step", event.step)
        self._metrics.inc("moco_train_steps_total", steps, job_id=job_id)
        if isinstance(spec, JobSpec) and spec.batch_rows:
            self._metrics.inc("moco_train_images_total", steps * spec.batch_rows, job_id=job_id)
        step_s = running.increase("step_s", event.signals.get("step_s", 0.0))
        if steps and step_s:
            name = "moco_worker_step_duration_seconds"
            self._metrics.observe(name, step_s / steps, worker=self._worker)

    def _job(self, job_id: str, name: str, value: float) -> None:
        self._metrics.set(f"moco_train_{name}", value, job_id=job_id)

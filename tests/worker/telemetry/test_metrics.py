import json
import socket
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.server.api_keys import Keys
from service.store.records import Lease
from tests.support.gpus import fake_nvml
from tests.support.gpus.fake_nvml import FakeCard, FakeMachine
from trainer.methods.moco.spec import MoCoSpec
from trainer.schema.events import Checkpointed, Ended, Event, Started, Stepped
from trainer.spec.job import JobSpec
from worker.attempt.progress import EventFold
from worker.slots import SlotPool
from worker.telemetry.metrics import WorkerMetrics
from worker.telemetry.metrics_server import MetricsServer

SPEC = JobSpec(dataset="digits", batch_rows=32, method=MoCoSpec(queue_rows=256, momentum=0.9))
LEASE = Lease(
    job_id="job_1",
    kind="train",
    pool="train",
    attempt=1,
    token="1:x",
    spec_json=SPEC.model_dump_json(),
    inputs={},
    folder="jobs/job_1",
    checkpoints=(),
    dataset_id=None,
)
EVENTS: list[Event] = [
    Started(step=10, steps_planned=100, steps_per_epoch=10, rows=320, device="cpu"),
    Stepped(step=12, epoch=1.2, signals={"loss": 2.5, "step_s": 1.0, "rows_per_s": 64.0}),
    Checkpointed(step=12, path="checkpoints/12", manifest_sha256="", size_bytes=1),
    Stepped(step=20, epoch=2.0, signals={"loss": 2.0, "step_s": 3.0, "rows_per_s": 64.0}),
]


def shown(metrics: WorkerMetrics) -> dict[str, float]:
    """Sample name and labels -> value, read by prometheus_client's own parser."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in families
        for sample in family.samples
    }


def running(*, scrape_s: float = 15.0) -> WorkerMetrics:
    metrics = WorkerMetrics("w", device="cpu", slots=SlotPool(["cpu"]), scrape_s=scrape_s)
    heard = EventFold(batch_rows=32)
    metrics.job_started(LEASE, SPEC)
    for event in EVENTS:
        metrics.take("job_1", heard.take(event, "")[0])
    return metrics


def test_a_running_job_is_shown() -> None:
    values, job = shown(running()), "[('job_id', 'job_1')]"
    expected = {
        "moco_train_loss": 2.0,
        "moco_train_queue_size": 256,
        "moco_train_batch_size": 32,
        "moco_train_checkpoint_interval_seconds": 30.0,
        "moco_train_steps_planned": 100,
        "moco_train_steps_total": 10,
        "moco_train_images_total": 320,
        "moco_train_step_seconds_total": 3.0,
        "moco_train_epoch": 2.0,
        "moco_train_progress_ratio": 0.2,
    }
    assert {name: values[name + job] for name in expected} == expected
    assert values["moco_worker_running_job[('job_id', 'job_1'), ('worker', 'w')]"] == 1
    # 2 steps took 1 s, and the 8 after them 2 s: two readings of 0.5 s and 0.25 s a step.
    assert values["moco_worker_step_duration_seconds_sum[('worker', 'w')]"] == 0.75
    assert values["moco_worker_step_duration_seconds_count[('worker', 'w')]"] == 2


def test_jobs_of_two_slots_do_not_mix() -> None:
    """Readings alternate, and each job counts its own steps and images."""
    slots = SlotPool(["cpu", "cpu", "cpu"])
    metrics = WorkerMetrics("w", device="cpu", slots=slots, scrape_s=15.0)
    folds = {"job_1": EventFold(batch_rows=32), "job_2": EventFold(batch_rows=8)}
    other = SPEC.model_copy(update={"batch_rows": 8})
    metrics.job_started(LEASE, SPEC)
    metrics.job_started(replace(LEASE, job_id="job_2"), other)
    for event in EVENTS:
        for job_id, fold in folds.items():
            metrics.take(job_id, fold.take(event, "")[0])
    slots.take(2)
    values = shown(metrics)
    assert values["moco_train_images_total[('job_id', 'job_1')]"] == 10 * 32
    assert values["moco_train_images_total[('job_id', 'job_2')]"] == 10 * 8
    assert values["moco_worker_step_duration_seconds_sum[('worker', 'w')]"] == 2 * 0.75
    assert values["moco_worker_slots[('worker', 'w')]"] == 3
    assert values["moco_worker_slots_busy[('worker', 'w')]"] == 2


def test_the_gpus_of_its_slots_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine((FakeCard("GPU-a"), FakeCard("GPU-b"), FakeCard("GPU-c")))
    fake_nvml.install(machine, monkeypatch.setattr)
    slots = SlotPool(["GPU-c", "GPU-a", "GPU-c"])
    values = shown(WorkerMetrics("w", device="cuda:0,2", slots=slots, scrape_s=15.0))
    shown_gpus = {name for name in values if name.startswith("moco_worker_gpu_info")}
    assert [uuid for uuid in "abc" if any(f"GPU-{uuid}" in name for name in shown_gpus)] == [
        "a",
        "c",
    ]


def test_the_end_of_a_lost_attempt_leaves_the_series_of_the_next_one() -> None:
    metrics = running(scrape_s=0.0)
    metrics.job_started(replace(LEASE, attempt=2), SPEC)
    metrics.job_ended(LEASE, 5.0, None)
    assert shown(metrics)["moco_worker_running_job[('job_id', 'job_1'), ('worker', 'w')]"] == 1


def test_a_job_is_seen_by_two_more_scrapes_and_then_forgotten() -> None:
    kept, gone = running(), running(scrape_s=0.0)
    for metrics in (kept, gone):
        metrics.job_ended(LEASE, 5.0, None)
    assert any("job_1" in name for name in shown(kept))
    assert not any("job_1" in name for name in shown(gone))
    assert shown(gone)["moco_job_run_duration_seconds_count[]"] == 1


def test_series_do_not_grow_with_jobs() -> None:
    metrics = running(scrape_s=0.0)
    metrics.job_ended(LEASE, 1.0, None)
    before = len(shown(metrics))
    for _ in range(20):
        metrics.job_started(LEASE, SPEC)
        metrics.job_ended(LEASE, 1.0, None)
    assert len(shown(metrics)) == before


def ended(metrics: WorkerMetrics, code: str) -> None:
    event = Ended(outcome="failed", code=code)
    metrics.take("job_1", EventFold(batch_rows=0).take(event, "")[0])


def test_ends_are_counted_by_code_and_an_unknown_code_is_internal() -> None:
    metrics = running()
    for code in ("nonfinite_loss", "nonfinite_loss", "never heard of"):
        ended(metrics, code)
    values = shown(metrics)
    assert values["moco_worker_runs_total[('code', 'nonfinite_loss')]"] == 2
    assert values["moco_worker_runs_total[('code', 'internal')]"] == 1
    assert values["moco_worker_runs_total[('code', 'oom')]"] == 0


KEYS = Keys("moco_key", "moco_read", "moco_scrape")


def answer(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("path", ["/metrics", "/", "/secret"])
def test_nothing_is_told_without_the_key(path: str) -> None:
    with MetricsServer("127.0.0.1", 0, keys=KEYS, render=lambda: b"x 1\n") as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "moco_key"}):
            status, body = answer(server.port, path, **headers)
            assert status == 401
            assert b'"code": "unauthorized"' in body


@pytest.mark.parametrize("key", ["moco_key", "moco_read", "moco_scrape"])
def test_every_key_opens_metrics_and_nothing_else(key: str) -> None:
    with MetricsServer("127.0.0.1", 0, keys=KEYS, render=lambda: b"x 1\n") as server:
        header = {"Authorization": f"bearer {key}"}
        assert answer(server.port, "/metrics", **header) == (200, b"x 1\n")
        assert answer(server.port, "/other", **header)[0] == 404


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("HEAD /metrics HTTP/1.1", 200),
        ("POST /metrics HTTP/1.1", 405),
        ("BREW /metrics HTTP/1.1", 405),
        ("GET /metrics HTTP/x", 400),
    ],
)
def test_other_requests_are_no_mistake_of_the_worker(request_line: str, status: int) -> None:
    with (
        MetricsServer("127.0.0.1", 0, keys=KEYS, render=lambda: b"x 1\n") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire,
    ):
        wire.sendall(f"{request_line}\r\nAuthorization: Bearer moco_scrape\r\n\r\n".encode())
        wire.shutdown(socket.SHUT_WR)
        head, _, body = b"".join(iter(lambda: wire.recv(4096), b"")).partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert (b"Allow: GET, HEAD" in head) == (status == 405)
    if request_line.startswith("HEAD"):
        assert body == b""
    else:
        assert json.loads(body)["status"] == status

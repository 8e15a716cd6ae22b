"""The dashboard that stays on the wall: is the service well, and what does it do."""

from service.observability.dashboards.panels import (
    Dashboard,
    Query,
    Row,
    Section,
    bars,
    curve,
    stat,
    table,
)
from service.observability.dashboards.service_internals import HOUSE

_FIRING = 'ALERTS{alertstate="firing", alertname=~"Moco.*"}'

_NOW = Section(
    "Now",
    (
        Row(
            4,
            (
                stat(
                    "Alerts firing",
                    "Each alert has a section in docs/runbook.md.",
                    "short",
                    Query(f"count({_FIRING}) or vector(0)", "alerts"),
                    steps=((None, "green"), (1, "red")),
                ),
                stat(
                    "Targets up",
                    "Share of targets (API, workers, state exporter) that Prometheus can scrape.",
                    "percentunit",
                    Query('sum(up{job=~"moco-.*"}) / count(up{job=~"moco-.*"})', "up"),
                    steps=((None, "red"), (1, "green")),
                ),
                stat(
                    "Redis",
                    "Whether the state exporter could reach the store at its last collection.",
                    "bool_on_off",
                    Query("max(moco_redis_up)", "Redis"),
                    steps=((None, "red"), (1, "green")),
                ),
                stat(
                    "Longest wait",
                    "Waiting time of the oldest queued job; 0 if the queue is empty.",
                    "s",
                    Query(
                        "time() - min(moco_queue_oldest_enqueued_timestamp_seconds > 0)"
                        " or vector(0)",
                        "oldest",
                    ),
                    steps=((None, "green"), (900, "yellow"), (3600, "red")),
                ),
                stat(
                    "Free disk",
                    "Free share of the data volume. On a full disk, uploads and jobs fail.",
                    "percentunit",
                    Query(
                        "min by (volume) (moco_storage_free_bytes / moco_storage_total_bytes)",
                        "{{volume}}",
                    ),
                    steps=((None, "red"), (0.05, "yellow"), (0.2, "green")),
                ),
                stat(
                    "Images per second",
                    "Training speed of all jobs together.",
                    "short",
                    Query(
                        "sum(job_id:moco_train_images:rate1m) or vector(0)",
                        "images/s",
                    ),
                ),
            ),
        ),
        Row(
            4,
            (
                stat(
                    "Jobs",
                    "Number of jobs, by status.",
                    "short",
                    Query("max by (status) (moco_jobs)", "{{status}}"),
                    columns=14,
                ),
                stat(
                    "Workers",
                    "Workers of the last day, by state. A lost one has missed its heartbeats.",
                    "short",
                    Query("max by (state) (moco_workers)", "{{state}}"),
                    columns=10,
                ),
            ),
        ),
    ),
)

_RUNNING = Section(
    "Running jobs",
    (
        Row(
            7,
            (
                table(
                    "Jobs and workers",
                    "Running jobs and their workers. The training job dashboard has details.",
                    Query("moco_job_info", "{{job_id}}"),
                ),
                bars(
                    "Progress",
                    "Completed share of the planned steps.",
                    "percentunit",
                    Query("moco_train_progress_ratio", "{{job_id}}"),
                    columns=6,
                    low=0,
                    high=1,
                    steps=((None, "green"),),
                ),
                stat(
                    "Time left",
                    "Estimated time to the last step at the current speed.",
                    "s",
                    Query("moco_train_expected_end_timestamp_seconds - time()", "{{job_id}}"),
                    columns=6,
                ),
            ),
        ),
    ),
)

_QUEUE = Section(
    "Queue",
    (
        Row(
            7,
            (
                curve(
                    "Queued jobs",
                    "Jobs waiting for a worker, by pool.",
                    "short",
                    Query("max by (pool) (moco_queue_jobs)", "{{pool}}"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Queued jobs by reason",
                    "Why they have not started. Only those that wait for slots need nothing done.",
                    "short",
                    Query("sum by (waiting_reason) (moco_queue_waiting)", "{{waiting_reason}}"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Idle workers",
                    "Workers that could run a job, by pool. Should be zero while jobs are queued.",
                    "short",
                    Query("max by (pool) (moco_queue_idle_workers)", "{{pool}}"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Time from submit to claim",
                    "90th percentile of the last hour. It grows when there are too few workers.",
                    "s",
                    Query("moco_job_queue_wait_seconds:p90_rate1h", "p90"),
                    columns=6,
                    low=0,
                ),
            ),
        ),
    ),
)

_ENDS = Section(
    "Outcomes",
    (
        Row(
            5,
            (
                stat(
                    "Jobs accepted",
                    "Jobs accepted since the store was created.",
                    "short",
                    Query("max(moco_jobs_submitted_total)", "accepted"),
                ),
                stat(
                    "Jobs ended",
                    "Jobs ended since the store was created, by result.",
                    "short",
                    Query("max by (result) (moco_jobs_finished_total)", "{{result}}"),
                    columns=10,
                ),
                stat(
                    "Attempts repeated",
                    "Since the store was made, by reason. A lost worker never counts as the"
                    " user's failure.",
                    "short",
                    Query("max by (reason) (moco_job_retries_total)", "{{reason}}"),
                    columns=10,
                ),
            ),
        ),
        Row(
            7,
            (
                curve(
                    "Runs by how they ended",
                    "Training and ingest processes that ended in the last hour, by exit reason.",
                    "short",
                    Query("sum by (code) (increase(moco_worker_runs_total[1h]))", "{{code}}"),
                    low=0,
                ),
                curve(
                    "Duration of an attempt",
                    "From claim to end: half were shorter, and nineteen of twenty.",
                    "s",
                    Query(
                        "histogram_quantile(0.5, sum by (le)"
                        " (rate(moco_job_run_duration_seconds_bucket[1h]))) >= 0",
                        "p50",
                    ),
                    Query(
                        "histogram_quantile(0.95, sum by (le)"
                        " (rate(moco_job_run_duration_seconds_bucket[1h]))) >= 0",
                        "p95",
                    ),
                    low=0,
                ),
                curve(
                    "Alerts",
                    "Alerts that wait for their time or fire, by name; the line of 0 is none.",
                    "short",
                    Query(
                        'sum by (alertname) (ALERTS{alertname=~"Moco.*"}) or vector(0)',
                        "{{alertname}}",
                    ),
                    low=0,
                ),
            ),
        ),
    ),
)

OVERVIEW = Dashboard(
    uid="mocoserve-overview",
    title="mocoserve: overview",
    description="Whether the service is well, what waits, what runs, and how it ends.",
    variables=(),
    sections=(_NOW, _RUNNING, _QUEUE, _ENDS, HOUSE),
)

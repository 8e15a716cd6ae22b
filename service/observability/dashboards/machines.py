"""The dashboard of the machines: workers and their GPUs."""

from service.observability.dashboards.panels import (
    Dashboard,
    Query,
    Row,
    Section,
    Variable,
    curve,
    stat,
    table,
)

_MINE = '{worker=~"$worker"}'


def _gpu(name: str, legend: str = "{{worker}} GPU {{gpu}}") -> Query:
    """A reading of the GPUs of the chosen workers."""
    return Query(f"moco_worker_gpu_{name}{_MINE}", legend)


_WORKERS = Section(
    "Workers",
    (
        Row(
            6,
            (
                stat(
                    "States",
                    "Workers of the last day, by state. A lost one has missed its heartbeats.",
                    "short",
                    Query("max by (state) (moco_workers)", "{{state}}"),
                    columns=8,
                ),
                table(
                    "Machines",
                    "Device and PyTorch version of each worker.",
                    Query(f"moco_worker_info{_MINE}", "{{worker}}"),
                    columns=8,
                ),
                table(
                    "Busy workers",
                    "Workers and the jobs they run.",
                    Query(f"moco_worker_running_job{_MINE} > 0", "{{worker}}"),
                    columns=8,
                ),
            ),
        ),
        Row(
            8,
            (
                curve(
                    "Since last heartbeat",
                    "A worker without a heartbeat for 15 ticks loses its job to another worker.",
                    "s",
                    Query(
                        f"time() - max by (worker)"
                        f" (moco_worker_last_heartbeat_timestamp_seconds{_MINE})",
                        "{{worker}}",
                    ),
                    columns=6,
                    low=0,
                    steps=((None, "transparent"), (60, "red")),
                ),
                curve(
                    "Step time",
                    "95th percentile over the last five minutes.",
                    "s",
                    Query(
                        f"worker:moco_worker_step_duration_seconds:p95_rate5m{_MINE}", "{{worker}}"
                    ),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Images per second",
                    "Training speed, by worker.",
                    "short",
                    Query(
                        "sum by (worker) (job_id:moco_train_images:rate1m * on (job_id)"
                        f" group_left (worker) max by (job_id, worker) (moco_job_info{_MINE}))",
                        "{{worker}}",
                    ),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Slots in use",
                    "Slots that running jobs hold: one for each GPU. Dashed: slots of the worker.",
                    "short",
                    Query(f"moco_worker_slots_busy{_MINE}", "used {{worker}}"),
                    Query(f"moco_worker_slots{_MINE}", "all {{worker}}"),
                    columns=6,
                    low=0,
                    dashed="all .*",
                ),
            ),
        ),
    ),
)

_GPUS = Section(
    "GPUs (empty for CPU workers)",
    (
        Row(
            5,
            (
                stat(
                    "GPUs",
                    "GPUs of the chosen workers, and those of them that do not answer.",
                    "short",
                    Query(f"count(moco_worker_gpu_up{_MINE})", "all"),
                    Query(f"count(moco_worker_gpu_up{_MINE} == 0) or vector(0)", "lost"),
                    columns=4,
                ),
                table(
                    "GPU inventory",
                    "Name, driver and uuid of each GPU or MIG instance.",
                    _gpu("info"),
                    columns=20,
                ),
            ),
        ),
        Row(
            8,
            (
                curve(
                    "Utilization",
                    "Share of time in which a kernel ran, by GPU. If it is low and the data wait is"
                    " high, data loading is too slow. MIG instances have no such reading.",
                    "percentunit",
                    _gpu("utilization_ratio"),
                    low=0,
                    high=1,
                ),
                curve(
                    "Memory",
                    "Memory in use by all processes. Dashed: total memory.",
                    "bytes",
                    _gpu("memory_used_bytes", "used {{worker}} GPU {{gpu}}"),
                    _gpu("memory_total_bytes", "total {{worker}} GPU {{gpu}}"),
                    low=0,
                    dashed="total .*",
                ),
                curve(
                    "GPU temperature",
                    "Most GPUs throttle above 85 degrees.",
                    "celsius",
                    _gpu("temperature_celsius"),
                    steps=((None, "transparent"), (85, "red")),
                ),
            ),
        ),
        Row(
            8,
            (
                curve("Power", "Power drawn.", "watt", _gpu("power_watts"), low=0),
                curve(
                    "Energy in the last hour",
                    "Energy used by the GPU.",
                    "joule",
                    Query(
                        f"increase(moco_worker_gpu_energy_joules_total{_MINE}[1h])",
                        "{{worker}} GPU {{gpu}}",
                    ),
                    low=0,
                ),
                curve(
                    "Images per joule",
                    "Images trained on per joule of GPU energy.",
                    "none",
                    Query(
                        "sum by (instance) (rate(moco_train_images_total[$__rate_interval]))"
                        " / (sum by (instance) (rate("
                        f"moco_worker_gpu_energy_joules_total{_MINE}[$__rate_interval])) > 0)",
                        "{{instance}}",
                    ),
                    low=0,
                ),
            ),
        ),
    ),
)

_PROCESSES = Section(
    "Worker processes",
    (
        Row(
            7,
            (
                curve(
                    "Memory of the supervisor",
                    "Memory of the supervisor process, which claims jobs and serves metrics; not "
                    "of the training.",
                    "bytes",
                    Query('process_resident_memory_bytes{job="moco-worker"}', "{{instance}}"),
                    columns=12,
                    low=0,
                ),
                curve(
                    "Cores of the supervisor",
                    "CPU cores in use by the supervisor. Should stay far below 1.",
                    "short",
                    Query(
                        'rate(process_cpu_seconds_total{job="moco-worker"}[$__rate_interval])',
                        "{{instance}}",
                    ),
                    columns=12,
                    low=0,
                ),
            ),
        ),
    ),
)

WORKERS = Dashboard(
    uid="mocoserve-workers",
    title="mocoserve: workers and GPUs",
    description="Status, speed and GPU health of the workers.",
    variables=(Variable("worker", "Worker", "moco_worker_info"),),
    sections=(_WORKERS, _GPUS, _PROCESSES),
)

"""The dashboard of a training: does it learn, how fast, and is it safe."""

from service.observability.dashboards.learning import JOB, LEARNING, of_job
from service.observability.dashboards.method_panels import method_settings
from service.observability.dashboards.panels import (
    Dashboard,
    Panel,
    Query,
    Row,
    Section,
    Variable,
    bars,
    curve,
    filled_row,
    stat,
    table,
)


def _spent(name: str, legend: str) -> Query:
    """Seconds of wall clock in each second, spent on one thing."""
    expr = f"rate(moco_train_{name}_seconds_total{JOB}[$__rate_interval])"
    return Query(expr, f"{legend} {{{{job_id}}}}")


def _setting(title: str, description: str, unit: str, name: str) -> Panel:
    return stat(title, description, unit, of_job(name), columns=3)


_STATE = Section(
    "State",
    (
        Row(
            6,
            (
                table(
                    "Jobs",
                    "Selected jobs and their workers.",
                    Query(f"moco_job_info{JOB}", "{{job_id}}"),
                ),
                bars(
                    "Progress",
                    "Completed share of the planned steps.",
                    "percentunit",
                    of_job("progress_ratio"),
                    columns=4,
                    low=0,
                    high=1,
                    steps=((None, "green"),),
                ),
                stat(
                    "Time left",
                    "Estimated time to the last step at the current speed.",
                    "s",
                    Query(f"moco_train_expected_end_timestamp_seconds{JOB} - time()", "{{job_id}}"),
                ),
                stat(
                    "Since last step",
                    "After ten minutes, or 20 times the mean step time, the job is stalled.",
                    "s",
                    Query(f"time() - moco_train_last_step_timestamp_seconds{JOB}", "{{job_id}}"),
                    steps=((None, "green"), (120, "yellow"), (600, "red")),
                ),
            ),
        ),
    ),
)

_SPEED = Section(
    "Throughput and durability",
    (
        Row(
            7,
            (
                curve(
                    "Images per second",
                    "Training speed over the last minute, in wall-clock time.",
                    "short",
                    Query(f"job_id:moco_train_images:rate1m{JOB}", "{{job_id}}"),
                    low=0,
                ),
                curve(
                    "Where time goes",
                    "Share of wall-clock time.",
                    "percentunit",
                    _spent("step", "steps"),
                    _spent("data_wait", "data"),
                    _spent("eval", "evaluation"),
                    _spent("checkpoint_blocked", "checkpoints"),
                    low=0,
                    stacked=True,
                ),
                curve(
                    "Waiting for data",
                    "Share of the training time spent on loading and augmentation. Above 0.4, the"
                    " device is waiting for data.",
                    "percentunit",
                    Query(f"job_id:moco_train_data_wait_per_step:ratio_rate5m{JOB}", "{{job_id}}"),
                    low=0,
                    high=1,
                    steps=((None, "transparent"), (0.4, "yellow")),
                ),
            ),
        ),
        Row(
            7,
            (
                curve(
                    "Seconds per step",
                    "Mean of this attempt, including data loading.",
                    "s",
                    Query(f"job_id:moco_train_seconds_per_step:mean{JOB}", "{{job_id}}"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Steps",
                    "Steps in this attempt; restarts at 0 when a job resumes from a checkpoint.",
                    "short",
                    of_job("steps_total"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Work at risk",
                    "Time since the last checkpoint or the start of the attempt: what a lost worker"
                    " would cost.",
                    "s",
                    Query(
                        f"time() - (moco_train_last_checkpoint_timestamp_seconds{JOB}"
                        f" or moco_train_started_timestamp_seconds{JOB})",
                        "{{job_id}}",
                    ),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Peak memory",
                    "Peak memory of the device; on a CPU, of the process.",
                    "bytes",
                    of_job("memory_peak_bytes"),
                    columns=6,
                    low=0,
                ),
            ),
        ),
    ),
)

_SETTINGS = Section(
    "Settings",
    (
        filled_row(
            4,
            (
                _setting(
                    "Images", "N, number of images in the dataset.", "short", "dataset_images"
                ),
                _setting(
                    "Steps planned", "Optimizer steps of the whole job.", "short", "steps_planned"
                ),
                _setting("Batch size", "Images per optimizer step.", "short", "batch_size"),
                *method_settings(of_job),
                _setting("Weight decay", "Weight decay of the optimizer.", "none", "weight_decay"),
                _setting(
                    "Checkpoint interval",
                    "Maximum training time between two checkpoints.",
                    "s",
                    "checkpoint_interval_seconds",
                ),
            ),
        ),
    ),
)

TRAINING = Dashboard(
    uid="mocoserve-training",
    title="mocoserve: training job",
    description="Learning, throughput and durability of running jobs. Curves of finished jobs are"
    " on the service's web page.",
    variables=(Variable("job_id", "Job", "moco_job_info"),),
    sections=(_STATE, LEARNING, _SPEED, _SETTINGS),
)

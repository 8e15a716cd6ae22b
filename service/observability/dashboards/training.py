"""The dashboard of a training: does it learn, how fast, and is it safe."""

from service.observability.dashboards.learning import JOB, LEARNING, of_job
from service.observability.dashboards.panels import (
    Dashboard,
    Panel,
    Query,
    Row,
    Section,
    Variable,
    bars,
    curve,
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
                    "What the chosen jobs are and where they run.",
                    Query(f"moco_job_info{JOB}", "{{job_id}}"),
                ),
                bars(
                    "Progress",
                    "Steps done, as a share of those planned.",
                    "percentunit",
                    of_job("progress_ratio"),
                    columns=4,
                    low=0,
                    high=1,
                    steps=((None, "green"),),
                ),
                stat(
                    "Time left",
                    "Until the last step, at the present speed.",
                    "s",
                    Query(f"moco_train_expected_end_timestamp_seconds{JOB} - time()", "{{job_id}}"),
                ),
                stat(
                    "Since last step",
                    "Ten minutes, or twenty times a step, mean that the job hangs.",
                    "s",
                    Query(f"time() - moco_train_last_step_timestamp_seconds{JOB}", "{{job_id}}"),
                    steps=((None, "green"), (120, "yellow"), (600, "red")),
                ),
            ),
        ),
    ),
)

_SPEED = Section(
    "How fast, and is it safe",
    (
        Row(
            7,
            (
                curve(
                    "Images per second",
                    "Rows trained on in a second of wall clock, over the last minute.",
                    "short",
                    Query(f"job_id:moco_train_images:rate1m{JOB}", "{{job_id}}"),
                    low=0,
                ),
                curve(
                    "Where time goes",
                    "Seconds spent in a second of wall clock.",
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
                    "Share of the training time spent on rows and views. Above 0.4 the device"
                    " waits.",
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
                    "Mean of this attempt, data included.",
                    "s",
                    Query(f"job_id:moco_train_seconds_per_step:mean{JOB}", "{{job_id}}"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Steps",
                    "Of this attempt: it begins at 0 again where a job goes on from a checkpoint.",
                    "short",
                    of_job("steps_total"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Work at risk",
                    "Since the last checkpoint, or since the attempt began: what a lost worker"
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
                    "Of the device; of the process on a CPU.",
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
        Row(
            4,
            (
                _setting("Rows", "N, images of the dataset.", "short", "dataset_images"),
                _setting("Steps planned", "Of the whole job.", "short", "steps_planned"),
                _setting("Batch", "Rows of one optimizer step.", "short", "batch_size"),
                _setting("Queue", "K, keys that serve as negatives.", "short", "queue_size"),
                _setting("Temperature", "T of InfoNCE.", "none", "temperature"),
                _setting("Momentum", "m of the key encoder.", "none", "key_momentum_ratio"),
                _setting("Weight decay", "Of the optimizer.", "none", "weight_decay"),
                _setting(
                    "Checkpoint interval",
                    "Longest training between two checkpoints.",
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
    description="Whether the chosen running jobs learn, how fast, and what they would lose."
    " Curves of jobs that are over are on the service's own page.",
    variables=(Variable("job_id", "Job", "moco_job_info"),),
    sections=(_STATE, LEARNING, _SPEED, _SETTINGS),
)

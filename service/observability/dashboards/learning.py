"""The panels that tell whether a training learns."""

from service.observability.dashboards.method_panels import UNITS, method_rows
from service.observability.dashboards.panels import (
    Panel,
    Query,
    Row,
    Section,
    curve,
    filled_row,
)
from trainer.evaluators import registry as evaluators
from trainer.pretexts import registry as pretexts
from trainer.schema.verdicts import COLLAPSED_STD, COLLAPSING_STD

JOB = '{job_id=~"$job_id"}'
"""The chosen jobs."""


def of_job(name: str, legend: str = "{{job_id}}") -> Query:
    """A metric of the chosen jobs, by its name without `moco_train_`."""
    return Query(f"moco_train_{name}{JOB}", legend)


SIGNALS = evaluators.SIGNALS | pretexts.SIGNALS
"""Signals with a panel of their own, unless they are baselines."""
SHOWN = frozenset({"knn_top1", "knn_top1_raw", "knn_top1_untrained", "knn_top1_majority"})
"""Those that share the panel of kNN accuracy."""
PANELS = 3
"""Panels of other signals in a row."""


def _evaluators() -> tuple[Row, ...]:
    """Return rows with a panel for each other signal, its baselines beside it."""
    shown = [
        name
        for name, signal in SIGNALS.items()
        if signal.metric and name not in SHOWN and not _measured_signal(name)
    ]
    rows = (shown[first : first + PANELS] for first in range(0, len(shown), PANELS))
    return tuple(filled_row(7, tuple(map(_panel, names))) for names in rows)


def _panel(name: str) -> Panel:
    """Return the panel of a signal."""
    signal = SIGNALS[name]
    return curve(
        name.replace("_", " ").capitalize(),
        f"{signal.meaning[0].upper()}{signal.meaning[1:]}.",
        UNITS.get(signal.unit, "short"),
        *_beside_baselines(name),
        dashed="baseline .*",
    )


def _measured_signal(name: str) -> str:
    """Return the signal that a signal is a baseline of; empty if it is none."""
    if not SIGNALS[name].meaning.startswith("baseline"):
        return ""
    longer = [other for other in SIGNALS if name.startswith(f"{other}_")]
    return max(longer, key=len, default="")


def _beside_baselines(name: str) -> tuple[Query, ...]:
    """Return a signal of the chosen jobs, and its baselines."""
    baselines = [other for other in SIGNALS if _measured_signal(other) == name]
    if not baselines:
        return (of_job(SIGNALS[name].metric),)
    words = {other: other.removeprefix(f"{name}_").replace("_", " ") for other in baselines}
    return (
        of_job(SIGNALS[name].metric, "encoder {{job_id}}"),
        *(
            of_job(SIGNALS[other].metric, f"baseline {words[other]} {{{{job_id}}}}")
            for other in baselines
        ),
    )


LEARNING = Section(
    "Learning",
    (
        Row(
            9,
            (
                curve(
                    "Loss",
                    "Dashed: chance, the loss of guessing. With a queue, the loss RISES at first,"
                    " while real keys replace random ones; this is normal.",
                    "short",
                    of_job("loss", "loss {{job_id}}"),
                    of_job("chance_loss", "chance {{job_id}}"),
                    of_job("contrast_loss", "without pretexts {{job_id}}"),
                    columns=12,
                    dashed="chance .*",
                ),
                curve(
                    "kNN accuracy",
                    "Accuracy on held-out labeled images, the best measure of progress. Dashed:"
                    " baselines. Needs labels.",
                    "percentunit",
                    of_job("knn_top1_ratio", "encoder {{job_id}}"),
                    of_job("knn_top1_raw_ratio", "baseline raw input {{job_id}}"),
                    of_job("knn_top1_untrained_ratio", "baseline untrained {{job_id}}"),
                    of_job("knn_top1_majority_ratio", "baseline majority class {{job_id}}"),
                    columns=12,
                    low=0,
                    high=1,
                    dashed="baseline .*",
                ),
            ),
        ),
        Row(
            8,
            (
                curve(
                    "Contrastive accuracy",
                    "How often the positive key ranks first, or among the first five."
                    " Above 0.99 the task is too easy.",
                    "percentunit",
                    of_job("contrastive_top1_ratio", "top 1 {{job_id}}"),
                    of_job("contrastive_top5_ratio", "top 5 {{job_id}}"),
                    low=0,
                    high=1,
                ),
                curve(
                    "Collapse",
                    f"Embedding std x sqrt(d): 1 is healthy. In the red zone, below"
                    f" {COLLAPSED_STD}, the encoder has collapsed.",
                    "short",
                    of_job("embedding_std_ratio"),
                    low=0,
                    steps=(
                        (None, "red"),
                        (COLLAPSED_STD, "yellow"),
                        (COLLAPSING_STD, "transparent"),
                    ),
                ),
                curve(
                    "Similarity",
                    "Mean cosine similarity of queries to positives and to negatives; the gap"
                    " should grow.",
                    "short",
                    of_job("positive_similarity", "positives {{job_id}}"),
                    of_job("negative_similarity", "negatives {{job_id}}"),
                    low=-1,
                    high=1,
                ),
            ),
        ),
        *method_rows(of_job),
        Row(
            7,
            (
                curve(
                    "Effective rank",
                    "Number of embedding dimensions in use. A falling value is an early sign of "
                    "collapse.",
                    "short",
                    of_job("embedding_effective_rank"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Learning rate",
                    "Learning rate of the last step.",
                    "short",
                    of_job("learning_rate"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Gradient norm",
                    "L2 norm of the last gradient. Jumps often precede a non-finite loss.",
                    "short",
                    of_job("grad_norm"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Epoch",
                    "Passes over the dataset.",
                    "short",
                    of_job("epoch"),
                    columns=6,
                    low=0,
                ),
            ),
        ),
        *_evaluators(),
    ),
)

"""The panels that tell whether a training learns."""

from service.observability.dashboards.panels import Query, Row, Section, curve
from trainer.schema.verdicts import COLLAPSED_STD, COLLAPSING_STD

JOB = '{job_id=~"$job_id"}'
"""The chosen jobs."""


def of_job(name: str, legend: str = "{{job_id}}") -> Query:
    """A metric of the chosen jobs, by its name without `moco_train_`."""
    return Query(f"moco_train_{name}{JOB}", legend)


LEARNING = Section(
    "Does it learn",
    (
        Row(
            9,
            (
                curve(
                    "Loss",
                    "InfoNCE, beside the dashed loss of guessing, ln(1 + K). It RISES at first,"
                    " while real keys replace random ones in the queue: that is healthy.",
                    "short",
                    of_job("loss", "loss {{job_id}}"),
                    of_job("chance_loss", "guessing {{job_id}}"),
                    columns=12,
                    dashed="guessing .*",
                ),
                curve(
                    "Nearest neighbors",
                    "True progress, where there are labels: test rows that their neighbors classify"
                    " correctly. Dashed: the same without this training.",
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
                    "Pretext accuracy",
                    "Queries that find their own key first, or among the first five, of 1 + K."
                    " Above 0.99 the task is too easy.",
                    "percentunit",
                    of_job("contrastive_top1_ratio", "top 1 {{job_id}}"),
                    of_job("contrastive_top5_ratio", "top 5 {{job_id}}"),
                    low=0,
                    high=1,
                ),
                curve(
                    "Collapse",
                    f"Std of the embedding x sqrt(d): 1 is healthy. In the red zone, below"
                    f" {COLLAPSED_STD}, all images look alike to the encoder.",
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
                    "Mean cosine of a query with its own key and with the negatives: the gap is"
                    " what is learned.",
                    "short",
                    of_job("positive_similarity", "own key {{job_id}}"),
                    of_job("negative_similarity", "negatives {{job_id}}"),
                    low=-1,
                    high=1,
                ),
            ),
        ),
        Row(
            7,
            (
                curve(
                    "Effective rank",
                    "Dimensions that the embedding uses. A fall is a collapse that begins.",
                    "short",
                    of_job("embedding_effective_rank"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Queue of negatives",
                    "Share held by real keys, and K / N: above 1, rows meet their own old keys.",
                    "percentunit",
                    of_job("queue_filled_ratio", "filled {{job_id}}"),
                    of_job("queue_dataset_ratio", "K / N {{job_id}}"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Oldest key",
                    "Age of the oldest negative in steps: K / batch when the queue is full.",
                    "short",
                    of_job("queue_oldest_key_age_steps"),
                    columns=6,
                    low=0,
                ),
                curve(
                    "Key encoder lag",
                    "Distance of the key encoder from the query encoder, relative to its norm.",
                    "percentunit",
                    of_job("key_encoder_distance_ratio"),
                    columns=6,
                    low=0,
                ),
            ),
        ),
        Row(
            7,
            (
                curve(
                    "Learning rate",
                    "Of the last step.",
                    "short",
                    of_job("learning_rate"),
                    low=0,
                ),
                curve(
                    "Gradient norm",
                    "L2 norm of the last gradient. Jumps come before a loss that is not finite.",
                    "short",
                    of_job("grad_norm"),
                    low=0,
                ),
                curve(
                    "Epoch",
                    "Passes over the rows, with their fraction.",
                    "short",
                    of_job("epoch"),
                    low=0,
                ),
            ),
        ),
    ),
)

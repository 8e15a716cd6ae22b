"""Tables that evaluators of classes declare. Loads no tensors."""

from trainer.schema.evaluation import Table

PER_CLASS = Table(
    "Classes",
    {
        "label": "class",
        "rows": "test rows of the class",
        "predicted": "test rows that are classified so",
        "precision": "share of those that are of the class",
        "recall": "share of the class that is classified so",
        "f1": "harmonic mean of precision and recall",
    },
)
CONFUSION = Table(
    "Confusions",
    {
        "label": "true class",
        "predicted": "class that is answered",
        "rows": "test rows",
        "share": "share of the true class",
    },
)
ROC = Table(
    "ROC curve",
    {
        "false_positive_rate": "false positive rate (1 - specificity)",
        "true_positive_rate": "true positive rate (sensitivity)",
        "threshold": "probability from which a row counts as positive",
        "features": "what was classified",
    },
    x="false_positive_rate",
    y="true_positive_rate",
)
THRESHOLD = Table(
    "At the threshold",
    {
        "positive_label": "class that counts as positive",
        "rule": "rule that chose the threshold, on validation rows",
        "threshold": "probability from which a row counts as positive",
        "validation_rows": "rows that the threshold was chosen on",
        "true_positives": "positive test rows at or above the threshold",
        "false_positives": "negative test rows at or above the threshold",
        "true_negatives": "negative test rows below the threshold",
        "false_negatives": "positive test rows below the threshold",
        "features": "what was classified",
    },
)

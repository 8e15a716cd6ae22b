"""Defaults of classification, each with its reason, and its checks. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import LABELS_MIN, Choice, Rules, filled

SAMPLES = 100_000
"""Images that a job reads in total, within the bounds of epochs."""
EPOCHS_MIN, EPOCHS_MAX = 10, 200
RATES = {"sgd": 0.1, "lars": 0.3, "adam": 0.001, "adamw": 0.001}
"""Learning rate of each optimizer for 256 images, from random weights."""
GENTLE = 1 / 3
"""Share of the rate for an encoder that begins with given weights."""


def _classes(_spec: JobSpec, facts: DatasetFacts) -> Choice:
    return len(facts.labels), "the labels of the dataset"


def _epochs(_spec: JobSpec, facts: DatasetFacts) -> Choice:
    epochs = max(EPOCHS_MIN, min(EPOCHS_MAX, round(SAMPLES / facts.rows)))
    return epochs, f"~{SAMPLES:,} images in total ({EPOCHS_MIN} to {EPOCHS_MAX} epochs)"


def _lr(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    rate, reason = RATES[spec.optim.name], "at 256 images, by the square root of the batch"
    if spec.init_from is not None and getattr(spec.method, "freeze", False) is not True:
        rate *= GENTLE
        reason += "; a third of that from random weights, to keep what the encoder has learned"
    return rate * (filled(spec.batch_rows) / 256) ** 0.5, f"{rate:.3g} {reason}"


def _crop(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return (0.5, 1.0), "weaker than in pretraining: a crop should show what the label names"


def _blur(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return 0.0, "labels may depend on detail"


RULES: Rules = (
    ("method.classes", _classes),
    ("epochs", _epochs),
    ("optim.lr", _lr),
    ("views.crop_scale", _crop),
    ("views.blur_p", _blur),
)


def check_labels(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError unless the dataset has the labels that the job learns."""
    counts = facts.label_rows or (1,) * len(facts.labels)
    present = [name for name, rows in zip(facts.labels, counts, strict=True) if rows]
    if not present:
        raise SpecError(
            "a finetune job learns labels, and this dataset has none; add it again with folders "
            "of classes or a labels.csv",
            field="dataset",
        )
    if len(present) < LABELS_MIN:
        detail = f"all labeled images have the label {present[0]!r}; a classifier needs two"
        raise SpecError(detail, field="dataset")
    stated, labels = getattr(spec.method, "classes", None), len(facts.labels)
    if stated not in {None, labels}:
        detail = f"{stated}, but the dataset has {labels} labels; leave it out"
        raise SpecError(detail, field="method.classes")
    _check_draw(getattr(spec.method, "labels_per_class", None), facts)


def _check_draw(wanted: int | None, facts: DatasetFacts) -> None:
    """Raise SpecError if a class has fewer images than are to be drawn of each."""
    counts = zip(facts.label_rows or (), facts.labels, strict=False)
    rows, label = min((each for each in counts if each[0]), default=(wanted or 0, ""))
    if wanted is not None and wanted > rows:
        raise SpecError(
            f"the smallest class, {label!r}, has {rows} labeled images; draw {rows} of each class "
            "or fewer",
            field="method.labels_per_class",
        )


def check(spec: JobSpec, _facts: DatasetFacts) -> None:
    """Raise SpecError for settings that do not go together."""
    if spec.auxiliary:
        detail = "a finetune job learns labels alone; pretrain with pretexts, then begin with that"
        raise SpecError(detail, field="auxiliary", also=("kind",))
    freeze = getattr(spec.method, "freeze", False)
    if not isinstance(freeze, bool) and freeze >= filled(spec.epochs):
        detail = f"{freeze} is as long as the {spec.epochs} epochs; use true to freeze it always"
        raise SpecError(detail, field="method.freeze", also=("epochs",))

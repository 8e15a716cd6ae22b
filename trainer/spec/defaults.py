"""Fills in what a user left out, each value with its reason. Loads no tensors.

`resolve` is idempotent: a resolved spec resolves to itself, with no reasons.
"""

from dataclasses import dataclass

from pydantic import BaseModel

from trainer.evaluators.knn.spec import K_MAX, K_MIN, K_SHARE
from trainer.methods.registry import part_of
from trainer.modalities.registry import part_of as modality_part
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.presets import with_preset
from trainer.spec.resolved import ResolvedSpec, as_resolved
from trainer.spec.rules import (
    POINTS,
    Choice,
    Rules,
    filled,
    is_quick,
    is_small,
    power_of_two_at_most,
    steps_of,
)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec without holes, and why each hole was filled as it was."""

    spec: ResolvedSpec
    reasons: dict[str, str]
    """Dotted field name -> one sentence. Only fields that the user left out."""


def resolve(spec: JobSpec, facts: DatasetFacts) -> Resolved:
    """Fill every hole of `spec` from `facts` and check what only both together can tell.

    Raises SpecError, naming the field, when no step could be trained.
    """
    stated = spec.views.model_fields_set
    facts = trained_on(spec, facts)
    _check_rows(facts)
    spec, reasons = with_preset(spec)
    _check_modality(spec)
    rules = rules_for(spec)
    spec = _own(spec, rules)
    for field, rule in rules:
        part, name = _place(spec, field)
        if part is not None and part.__dict__[name] is None:
            value, reasons[field] = rule(spec, facts)
            # Like model_copy, but once for all rules; this copy is not shared yet.
            part.__dict__[name] = value
            part.__pydantic_fields_set__.add(name)
    of_modality = modality_part(spec.views.modality, "defaults")
    reasons |= of_modality.settle(spec, facts, stated=stated)
    of_modality.check(spec, facts)
    _check(spec, facts)
    return Resolved(spec=as_resolved(spec), reasons=reasons)


def trained_on(spec: JobSpec, facts: DatasetFacts) -> DatasetFacts:
    """The facts with the rows that a job trains on: of the split `train`, if it uses splits."""
    if not (spec.use_splits and facts.splits):
        return facts
    return facts.model_copy(update={"rows": facts.splits.get("train", 0)})


def _own(spec: JobSpec, rules: Rules) -> JobSpec:
    """A copy of `spec`, and of each part of it that a rule may fill."""
    heads = {field.partition(".")[0] for field, _ in rules if "." in field}
    parts = {head: getattr(spec, head) for head in heads}
    copies = {head: part.model_copy() for head, part in parts.items() if part is not None}
    return spec.model_copy(update=copies)


def _place(spec: JobSpec, field: str) -> tuple[BaseModel | None, str]:
    """The part of `spec` that holds a dotted field, if there is one, and the field's name in it."""
    head, _, rest = field.partition(".")
    return (getattr(spec, head), rest) if rest else (spec, head)


def _batch(spec: JobSpec, facts: DatasetFacts) -> Choice:
    high = 128 if is_quick(spec) else 256
    batch_rows = power_of_two_at_most(facts.rows / 16, low=8, high=high)
    return min(batch_rows, facts.rows), f"1/16 of the dataset, at most {high}"


def _lr(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    base = 0.001
    if spec.optim.name == "sgd":
        base = 0.12 if is_quick(spec) else 0.03
    return base * filled(spec.batch_rows) / 256, f"{base} per 256 images of the batch"


def _decay(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.optim.name == "adamw":
        return 0.05, "common for AdamW"
    if is_small(spec):
        return 5e-4, "the MoCo authors' value for CIFAR-10"
    return 1e-4, "the value of MoCo v1 and v2"


def _epochs(_spec: JobSpec, facts: DatasetFacts) -> Choice:
    epochs = max(20, min(400, round(10_000_000 / facts.rows)))
    return epochs, "~10 M samples in total (20 to 400 epochs)"


def _order(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return 2, "every order of the images can occur"


def _warmup_from(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return 1, "the first warm-up step already has a nonzero learning rate"


def _neighbours(spec: JobSpec, facts: DatasetFacts) -> Choice:
    rows = smallest_class(spec, facts)
    if rows == 0:
        return K_MIN, "the dataset has no labels"
    bounds = f"at least {K_MIN} and at most {K_MAX}"
    reason = f"1/10 of the smallest class in the bank, about {rows} images; {bounds}"
    return min(K_MAX, max(K_MIN, rows // K_SHARE)), reason


def smallest_class(spec: JobSpec, facts: DatasetFacts) -> int:
    """Return how many rows of the bank the smallest class has, on average over the draws.

    The bank is what `trainer.evaluators.runner` leaves of the labelled rows: those of the split
    train where the dataset has splits, all of them with a test dataset, else nine tenths; and at
    most `bank_rows`. 0 without labels; a pack that does not count the rows of its classes is taken
    to have as many of each.
    """
    if spec.evaluation is None or not facts.labels:
        return 0
    counts = facts.label_rows or (facts.rows // len(facts.labels),) * len(facts.labels)
    counts = tuple(count for count in counts if count)
    labelled = sum(counts)
    bank = labelled
    splits = facts.splits if spec.use_splits else {}
    if splits:
        bank = labelled * splits.get("train", 0) // max(1, sum(splits.values()))
    if not (spec.test_dataset or splits.get("test")):
        bank -= bank // 10
    return min(counts, default=0) * min(bank, spec.evaluation.bank_rows) // max(1, labelled)


def _baselines(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return True, "baselines put the accuracy in context"


def _signals(spec: JobSpec, facts: DatasetFacts) -> Choice:
    every_steps = max(1, min(50, steps_of(spec, facts) // POINTS))
    return every_steps, f"about {POINTS} points per curve, at most 50 steps apart"


BEFORE_METHOD: Rules = (
    ("batch_rows", _batch),
    ("epochs", _epochs),
)
AFTER_METHOD: Rules = (
    ("optim.lr", _lr),
    ("optim.weight_decay", _decay),
    ("signals_every_steps", _signals),
    ("order", _order),
    ("schedule.warmup_from", _warmup_from),
    ("evaluation.k", _neighbours),
    ("evaluation.baselines", _baselines),
)


def rules_for(spec: JobSpec) -> Rules:
    """Return all rules in their order; a rule of the method takes the place of a common one."""
    own: Rules = part_of(spec.method.name, "defaults").RULES
    of_method = tuple(pair for pair in own if pair[0].startswith("method."))
    of_modality: Rules = modality_part(spec.views.modality, "defaults").RULES
    common = (*of_modality, *BEFORE_METHOD, *of_method, *AFTER_METHOD)
    return tuple((field, dict(own).get(field, rule)) for field, rule in common)


def _check_modality(spec: JobSpec) -> None:
    """Raise SpecError for an encoder of other data than the views."""
    if spec.encoder.modality != spec.views.modality:
        detail = (
            f"{spec.encoder.name} is an encoder for {spec.encoder.modality}, but views makes "
            f"{spec.views.modality}"
        )
        raise SpecError(detail, field="encoder.name")


def _check_rows(facts: DatasetFacts) -> None:
    """Raise SpecError if the dataset has too few rows to train on."""
    if facts.rows >= 2:
        return
    detail = f"the dataset has {facts.rows} training images; training needs at least 2"
    if facts.splits:
        detail += " (it has splits; use_splits false trains on all of them)"
    raise SpecError(detail, field="dataset")


def _check(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError for settings that do not fit the dataset or one another."""
    if filled(spec.batch_rows) > facts.rows:
        detail = f"{spec.batch_rows} images, but the dataset has only {facts.rows}"
        raise SpecError(detail, field="batch_rows")
    if spec.schedule.warmup_epochs > filled(spec.epochs):
        detail = f"{spec.schedule.warmup_epochs:g} is longer than the {spec.epochs} epochs"
        raise SpecError(detail, field="schedule.warmup_epochs")

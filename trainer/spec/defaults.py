"""Fills in what a user left out, each value with its reason. Loads no tensors.

`resolve` is idempotent: a resolved spec resolves to itself, with no reasons.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm
from typing import Any

from pydantic import BaseModel

from trainer.evaluators.geometry.spec import GeometrySpec
from trainer.evaluators.registry import part_of as evaluator_part
from trainer.exports.spec import check_exports
from trainer.methods.registry import DEFAULTS, methods_of_more_views, part_of
from trainer.modalities.registry import part_of as modality_part
from trainer.optim.spec import CosineSpec, LinearSpec
from trainer.positives.registry import part_of as positives_part
from trainer.schema.choices import GROUPS_MAX
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.auxiliary import check_auxiliary, held_out_signals
from trainer.spec.batch_parts import check_parts
from trainer.spec.job import JobSpec
from trainer.spec.modality_parts import with_modality
from trainer.spec.presets import with_preset
from trainer.spec.resolved import ResolvedSpec, as_resolved
from trainer.spec.resources import BatchNorm, check_shares, shared_groups, shared_unit
from trainer.spec.rules import (
    LABELS_MIN,
    POINTS,
    Choice,
    Rule,
    Rules,
    epoch_rows,
    filled,
    label_rows,
    power_of_two_at_most,
    steps_of,
    steps_per_epoch,
)

UNITS_MIN = 2
"""Units of a batch: each GPU, group of batch norm and micro-batch has two rows, or two labels."""


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
    spec, reasons = with_modality(spec, facts)
    stated, states_norm = spec.views.model_fields_set, "bn" in spec.method.model_fields_set
    _check_kind(spec)
    _check_method(spec, facts, "check_labels")
    facts = trained_on(spec, facts)
    _check_rows(facts)
    spec, of_evaluation = _evaluation(spec, facts)
    spec, of_preset = with_preset(spec)
    reasons |= of_preset | of_evaluation
    spec = _with_shared_groups(spec, reasons)
    rules = rules_for(spec)
    spec = _own(spec, rules)
    for field, rule in rules:
        part, name = _place(spec, field)
        if part.__dict__[name] is None:
            value, reasons[field] = rule(spec, facts)
            # Like model_copy, but once for all rules; this copy is not shared yet.
            part.__dict__[name] = value
            part.__pydantic_fields_set__.add(name)
    of_modality = modality_part(spec.views.modality, "defaults")
    reasons |= of_modality.settle(spec, facts, stated=stated)
    spec = _without_batch_norm(spec, reasons, is_stated=states_norm)
    of_modality.check(spec, facts)
    positives_part(spec.positives.name, "defaults").check(spec, facts)
    _check_method(spec, facts, "check")
    _check(spec, facts)
    _check_evaluators(spec, facts)
    _check_batching(spec, facts)
    check_auxiliary(spec, facts)
    return Resolved(spec=as_resolved(spec), reasons=reasons)


def trained_on(spec: JobSpec, facts: DatasetFacts) -> DatasetFacts:
    """The facts with the rows that a job trains on: of the split `train`, if it uses splits.

    A job that learns labels trains on rows that have one: their number is an estimate.
    """
    if spec.learns_labels:
        return facts.model_copy(update={"rows": sum(label_rows(spec, facts))})
    if not (spec.use_splits and facts.splits):
        return facts
    return facts.model_copy(update={"rows": facts.splits.get("train", 0)})


def _evaluation(spec: JobSpec, facts: DatasetFacts) -> tuple[JobSpec, dict[str, str]]:
    """Return a spec that states no evaluation with one that needs no labels, if there are none.

    Also returns the reason. A spec that an older version resolved states its evaluation, or null.
    """
    if facts.labels or "evaluation" in spec.model_fields_set:
        return spec, {}
    geometry = GeometrySpec(name="geometry")
    reason = "it needs no labels, and the dataset has none"
    return spec.model_copy(update={"evaluation": geometry}), {"evaluation.name": reason}


def _own(spec: JobSpec, rules: Rules) -> JobSpec:
    """A copy of `spec`, and of each part of it that a rule may fill."""
    heads = {field.partition(".")[0] for field, _ in rules if "." in field}
    parts = {head: getattr(spec, head) for head in heads}
    return spec.model_copy(update={head: _copied(part) for head, part in parts.items()})


def _copied(part: Any) -> Any:  # noqa: ANN401  # a part of a spec, or several
    if isinstance(part, tuple):
        return tuple(each.model_copy() for each in part)
    return part.model_copy()


def _place(spec: JobSpec, field: str) -> tuple[BaseModel, str]:
    """Return the part of `spec` that holds a dotted field, and the field's name in it."""
    *path, name = field.split(".")
    part: Any = spec
    for step in path:
        part = part[int(step)] if isinstance(part, tuple) else getattr(part, step)
    return part, name


def _batch(spec: JobSpec, facts: DatasetFacts) -> Choice:
    high, part = 128 if spec.encoder.is_quick else 256, 16
    if spec.learns_labels:
        high, part = 64, 4
    batch_rows = power_of_two_at_most(facts.rows / part, low=8, high=high)
    of = "labeled images" if spec.learns_labels else "dataset"
    reason = f"1/{part} of the {of}, rounded down to a power of 2; at most {high}"
    unit, purposes = _batch_unit(spec)
    if not purposes:
        return min(batch_rows, facts.rows), reason
    batch_rows = max(UNITS_MIN, batch_rows // unit) * unit
    return batch_rows, f"{reason}, and a multiple of {unit}, so that {' and '.join(purposes)}"


def _batch_unit(spec: JobSpec) -> tuple[int, list[str]]:
    """Return the number that a batch must be a multiple of, and what that makes possible."""
    gpus, parts = spec.resources.gpus, spec.optim.accumulate_steps
    of_label = 1 if spec.batching is None else spec.batching.rows_per_label
    purposes = []
    if gpus > 1:
        purposes.append(f"{gpus} GPUs can share it")
    if parts > 1:
        purposes.append(f"it has {parts} equal parts")
    if of_label > 1:
        purposes.append(f"it holds whole groups of {of_label} images of a label")
    return lcm(shared_unit(gpus, batch_norm_of(spec)), parts * of_label), purposes


def _lr(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    base = 0.3 if spec.optim.name == "lars" else 0.001
    if spec.optim.name == "sgd":
        base = 0.12 if spec.encoder.is_quick else 0.03
        base *= getattr(spec.method, "sgd_lr_factor", 1.0)
    return base * filled(spec.batch_rows) / 256, f"{base:g} per 256 images of the batch"


def _decay(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.optim.name == "adamw":
        return 0.05, "common for AdamW"
    if spec.optim.name == "adam":
        return 0.0, "Adam divides decay by the size of the gradient; AdamW decays as meant"
    if spec.optim.name == "lars":
        return 1e-6, "the value of SimCLR, MoCo v3 and BYOL"
    if spec.views.is_small:
        return 5e-4, "the MoCo authors' value for CIFAR-10"
    return 1e-4, "the value of MoCo v1 and v2"


def _epochs(_spec: JobSpec, facts: DatasetFacts) -> Choice:
    epochs = max(20, min(400, round(10_000_000 / facts.rows)))
    return epochs, "~10 M samples in total (20 to 400 epochs)"


def _order(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return 2, "every order of the images can occur"


def _warmup_from(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return 1, "the first warm-up step already has a nonzero learning rate"


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
)


def rules_for(spec: JobSpec) -> Rules:
    """Return all rules in their order; a rule of the method takes the place of a common one."""
    own: Rules = part_of(spec.method.name, "defaults").RULES
    of_method = tuple(pair for pair in own if pair[0].startswith("method."))
    of_modality: Rules = modality_part(spec.views.modality, "defaults").RULES
    common = (*of_modality, *BEFORE_METHOD, *of_method, *AFTER_METHOD, *_evaluation_rules(spec))
    return tuple((field, dict(own).get(field, rule)) for field, rule in common)


def _evaluation_rules(spec: JobSpec) -> Rules:
    """Return the rules of the evaluators: of `evaluation.k`, or in a list of `evaluation.0.k`."""
    return tuple(
        (f"{name}.{field}", _of_evaluator(rule, index))
        for index, (name, evaluator) in enumerate(spec.named_evaluators())
        for field, rule in evaluator_part(evaluator.name, "defaults").RULES
    )


def _of_evaluator(rule: Callable[[JobSpec, DatasetFacts, Any], Choice], index: int) -> Rule:
    return lambda spec, facts: rule(spec, facts, spec.evaluators[index])


def _check_kind(spec: JobSpec) -> None:
    """Raise SpecError for a method or a preset of another kind of job."""
    kind = getattr(spec.method, "job_kind", "pretrain")
    if spec.kind == "finetune" and spec.preset is not None:
        raise SpecError("presets are recipes of pretraining; leave it out", field="preset")
    if kind == spec.kind:
        return
    own = DEFAULTS[spec.kind]
    detail = f"{spec.method.name} is for {kind} jobs; use {own}, or set kind to {kind}"
    raise SpecError(detail, field="method.name", also=("kind",))


def _check_method(spec: JobSpec, facts: DatasetFacts, name: str) -> None:
    """Call a check of the method, if it has one. It raises SpecError."""
    check = getattr(part_of(spec.method.name, "defaults"), name, None)
    if check is not None:
        check(spec, facts)


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
    _check_schedule(spec, facts)
    _check_views(spec)
    check_parts(spec)
    check_exports(spec)
    _check_watched(spec)
    check_shares(
        spec.resources.gpus,
        batch_rows=filled(spec.batch_rows),
        norm=batch_norm_of(spec),
        partial_batch=spec.partial_batch,
        shuffle_parts=getattr(spec.method, "shuffle_parts", spec.resources.gpus),
    )


def _check_views(spec: JobSpec) -> None:
    """Raise SpecError for more views than the method reads, or for a source of those."""
    names, reads_one = methods_of_more_views(), spec.views_per_row == 1
    if reads_one and spec.positives.name != "self":
        detail = f"{spec.positives.name}, but {spec.method.name} reads one view of each image"
        raise SpecError(f"{detail}; omit it", field="positives.name", also=("method.name",))
    if spec.views.count > 2 and spec.method.name not in names:
        takes = "reads one view" if reads_one else "compares two views"
        raise SpecError(
            f"{spec.views.count}, but {spec.method.name} {takes}; use 2, or one of the methods "
            f"{', '.join(names)}",
            field="views.count",
            also=("method.name",),
        )


def _check_schedule(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError for a warm-up longer than the run, or a lowest rate above the peak."""
    schedule, steps = spec.schedule, steps_of(spec, facts)
    if schedule.warmup_epochs > filled(spec.epochs):
        detail = f"{schedule.warmup_epochs:g} is longer than the {spec.epochs} epochs"
        raise SpecError(detail, field="schedule.warmup_epochs")
    if (schedule.warmup_steps or 0) > steps:
        detail = f"{schedule.warmup_steps} is longer than the {steps} steps of the job"
        raise SpecError(detail, field="schedule.warmup_steps")
    if isinstance(schedule, CosineSpec | LinearSpec) and schedule.lr_min > filled(spec.optim.lr):
        detail = f"{schedule.lr_min:g} is above the peak, optim.lr {spec.optim.lr:g}"
        raise SpecError(detail, field="schedule.lr_min", also=("optim.lr",))


def _check_evaluators(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError for a setting of an evaluator that does not fit the dataset."""
    for name, evaluator in spec.named_evaluators():
        check = getattr(evaluator_part(evaluator.name, "defaults"), "check", None)
        if check is not None:
            check(spec, facts, evaluator, field=name)


def _check_watched(spec: JobSpec) -> None:
    """Raise SpecError for a watched signal that no evaluator of the job measures."""
    early_stop = spec.early_stop
    watched = {"best_by": spec.best_by, "early_stop.signal": early_stop and early_stop.signal}
    known = [
        name
        for evaluator in spec.evaluators
        for name, signal in evaluator_part(evaluator.name, "spec").SIGNALS.items()
        if signal.better
    ]
    if spec.evaluators:
        known += held_out_signals(spec)
    for field, name in watched.items():
        if name is not None and name not in known:
            choices = f"choose from {', '.join(known)}" if known else "the job has no evaluation"
            detail = f"{name} is no signal of the job's evaluation that gets better; {choices}"
            raise SpecError(detail, field=field, also=("evaluation",))


def _check_batching(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError unless the labels of the dataset fill balanced batches."""
    if spec.batching is None:
        return
    if sum(1 for rows in facts.label_rows or (1,) * len(facts.labels) if rows) < LABELS_MIN:
        raise SpecError(
            f"balanced batches need images of at least {LABELS_MIN} labels, and this dataset has "
            f"{'one' if facts.labels else 'none'}; add it again with labels, or leave batching out",
            field="batching",
        )
    of_label, batch_rows = spec.batching.rows_per_label, filled(spec.batch_rows)
    parts = spec.optim.accumulate_steps
    unit = of_label * parts
    if batch_rows % unit or batch_rows < LABELS_MIN * unit:
        in_parts = f" in {parts} parts" if parts > 1 else ""
        raise SpecError(
            f"{batch_rows} images{in_parts} are not whole groups of {of_label} images of a label, "
            f"at least {LABELS_MIN} of them; use a multiple of {unit} from {LABELS_MIN * unit}",
            field="batch_rows",
            also=("batching.rows_per_label",),
        )
    if not steps_per_epoch(spec, epoch_rows(spec, facts)):
        raise too_few_for_batches(of_label, batch_rows)


def too_few_for_batches(of_label: int, batch_rows: int) -> SpecError:
    """Return the error of labels with too few rows for one balanced batch."""
    return SpecError(
        f"the labels have too few images for one batch of {batch_rows} in groups of {of_label}; "
        "use smaller groups or batches",
        field="batching.rows_per_label",
        also=("batch_rows",),
    )


def batch_norm_of(spec: JobSpec) -> BatchNorm:
    """Return the batch norm of a job's networks: a plain one, if the method has no choice."""
    method: Any = spec.method
    if not has_batch_norm(spec):
        return BatchNorm("none")
    return BatchNorm(
        getattr(method, "bn", "plain"),
        getattr(method, "bn_splits", 1),
        is_shuffled=hasattr(method, "shuffle_parts"),
    )


def has_batch_norm(spec: JobSpec) -> bool:
    """Return whether the encoder or the head of a job has batch norm."""
    in_head: bool = getattr(spec.method, "head_has_batch_norm", True)
    return in_head or spec.encoder.has_batch_norm


def _with_shared_groups(spec: JobSpec, reasons: dict[str, str]) -> JobSpec:
    """Return a spec with groups of split batch norm that its GPUs can share; add the reason.

    Groups that the user or a preset states are kept.
    """
    gpus, norm = spec.resources.gpus, batch_norm_of(spec)
    if gpus == 1 or norm.kind != "split" or "bn_splits" in spec.method.model_fields_set:
        return spec
    groups = shared_groups(gpus, norm)
    if groups == norm.splits or groups > GROUPS_MAX:
        return spec
    reasons["method.bn_splits"] = f"{groups // gpus} groups for each of {gpus} GPUs"
    return spec.model_copy(update={"method": spec.method.model_copy(update={"bn_splits": groups})})


def _without_batch_norm(spec: JobSpec, reasons: dict[str, str], *, is_stated: bool) -> JobSpec:
    """Return a spec that splits and shares no batch norm where there is none; add the reason.

    Raises SpecError if the user asked for it.
    """
    norm = getattr(spec.method, "bn", "plain")
    if norm == "plain" or has_batch_norm(spec):
        return spec
    if is_stated:
        detail = f"{norm}, but {spec.encoder.name} has no batch norm; use plain, or leave it out"
        raise SpecError(detail, field="method.bn", also=("encoder.name",))
    reasons["method.bn"] = f"{spec.encoder.name} has no batch norm"
    return spec.model_copy(update={"method": spec.method.model_copy(update={"bn": "plain"})})

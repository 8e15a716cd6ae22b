"""Fields that a resolved spec did not always have, and what their absence meant. Loads no tensors.

A job in flight keeps the spec that was resolved when it was submitted. A version that adds a field
which changes the result lists it here, so that such a job ends with its old bits.
"""

from typing import Any

from trainer.positives.self.spec import SelfSpec
from trainer.spec.job import JobSpec

ADDED: tuple[tuple[str, object], ...] = (
    ("order", 1),
    ("schedule.warmup_from", 0),
    ("evaluation.baselines", False),
    ("encoder.channels", 3),
    ("views.evaluation_crop", "square"),
    ("method.shuffle_parts", 1),
    ("views.second", "same"),
    # These have their old meaning by default, and are here for the hash of a spec alone.
    ("kind", "pretrain"),
    ("preset", None),
    ("use_splits", True),
    ("early_stop", None),
    ("positives", SelfSpec()),
    ("batching", None),
    ("encoder.stem_init", "kaiming"),
    ("encoder.patch_px", None),
    ("encoder.positions", None),
    ("encoder.patch_projection", None),
    ("schedule.first_epoch", 0),
    ("views.normalize", "dataset"),
    ("views.window", "dataset"),
    ("views.count", 2),
    ("views.vertical_flip_p", 0.0),
    ("views.quarter_turn_p", 0.0),
    ("views.rotation_p", 0.0),
    ("views.rotation_degrees", 15.0),
    ("views.noise_p", 0.0),
    ("views.noise_sigma", 0.1),
    ("views.channel_drop_p", 0.0),
    ("views.erase_p", 0.0),
    ("views.erase_scale", (0.02, 0.33)),
    ("views.erase_ratio", (0.3, 3.3)),
    ("optim.decay", "all"),
    ("optim.clip_norm", None),
    ("optim.accumulate_steps", 1),
    ("schedule.lr_min", 0.0),
    ("schedule.warmup_steps", None),
    ("exports", ()),
    ("auxiliary", ()),
    ("method:simclr.bn", "plain"),
    ("method:simclr.bn_splits", 8),
    ("method:moco.momentum_schedule", "constant"),
    ("method:moco.in_batch", False),
    ("method:moco.head_hidden", "features"),
    ("method:moco.head_layers", 2),
    ("method:moco.head_batch_norm", "none"),
    ("method:simclr.head_hidden", "features"),
    ("method:simclr.head_layers", 2),
    ("method:simclr.head_batch_norm", "hidden"),
)
"""Dotted field -> value of a resolved spec that lacks it. `method:simclr` is SimCLR's alone."""


def settled(spec: JobSpec) -> JobSpec:
    """Return a stored resolved spec with what its version did not know at its old meaning."""
    for field, before in ADDED:
        head, part, name = _place(spec, field)
        if before is None:
            continue
        if name and part is not None and getattr(part, name, before) is None:
            spec = spec.model_copy(update={head: part.model_copy(update={name: before})})
        elif not name and part is None:
            spec = spec.model_copy(update={head: before})
    return spec


def at_old_meaning(spec: JobSpec) -> dict[str, Any]:
    """Return the fields that say no more than their absence, as pydantic's `exclude` takes them."""
    excluded: dict[str, Any] = {}
    for field, before in ADDED:
        head, part, name = _place(spec, field)
        if name and hasattr(part, name) and getattr(part, name) == before:
            excluded.setdefault(head, set()).add(name)
        elif not name and part == before:
            excluded[head] = True
    return excluded


def _place(spec: JobSpec, field: str) -> tuple[str, Any, str]:
    """Return the first name of a dotted field, that part of the spec, and the name in it.

    The part is None where the field belongs to another one of its kind.
    """
    place, _, name = field.partition(".")
    head, _, only = place.partition(":")
    part = getattr(spec, head)
    return head, None if only and part.name != only else part, name

"""Presets: the recipes of the MoCo papers by name, value for value.

`JobSpec.preset` names one. Whatever the spec says itself takes precedence over the preset, and what
neither says is suggested from the dataset. Where a paper's code and its text differ, the code is
followed. Loads no tensors.
"""

from typing import Any, NamedTuple

from pydantic import ValidationError

from trainer.schema.errors import SpecError
from trainer.schema.validation import message_of, path_in
from trainer.spec.job import JobSpec, PresetName

Nested = dict[str, Any]


class Preset(NamedTuple):
    """A recipe."""

    source: str
    """Source of its values."""
    values: Nested
    """Part of a JobSpec, as JSON."""


CIFAR10_MEAN, CIFAR10_STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
"""Constants of the authors' notebook."""

V1: Nested = {
    "epochs": 200,
    "batch_rows": 256,
    "partial_batch": "drop",
    "precision": "fp32",
    "encoder": {"name": "resnet50", "stem": "imagenet"},
    "method": {
        "name": "moco",
        "queue_rows": 65_536,
        "momentum": 0.999,
        "temperature": 0.07,
        "dim": 128,
        "head": "linear",
        "symmetric": False,
        "bn": "split",
        "bn_splits": 8,
        "mask_own_keys": False,
        "negatives_start": "random",
    },
    "views": {
        "side_px": 224,
        "crop_scale": [0.2, 1.0],
        "crop_ratio": [0.75, 4 / 3],
        "flip_p": 0.5,
        "jitter_p": 1.0,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.4,
        "grey_p": 0.2,
        "grey_first": True,
        "blur_p": 0.0,
        "solarize_p": 0.0,
        "normalize": "imagenet",
    },
    "optim": {
        "name": "sgd",
        "lr": 0.03,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "nesterov": False,
    },
    "schedule": {
        "name": "steps",
        "epochs": [120, 160],
        "factor": 0.1,
        "first_epoch": 0,
        "warmup_epochs": 0.0,
    },
}
"""`main_moco.py` with its defaults; sections 3.3 and 4.1 of the paper. 60.6 % linear top-1."""

V2: Nested = V1 | {
    "method": V1["method"] | {"head": "mlp", "temperature": 0.2},
    "views": V1["views"]
    | {
        "jitter_p": 0.8,
        "hue": 0.1,
        "grey_first": False,
        "blur_p": 0.5,
        "blur_sigma_px": [0.1, 2.0],
    },
    "schedule": {"name": "cosine", "per": "epoch", "first_epoch": 0, "warmup_epochs": 0.0},
}
"""`main_moco.py --mlp --moco-t 0.2 --aug-plus --cos`; section 3 of the paper. 67.5 %."""

CIFAR10: Nested = V1 | {
    "batch_rows": 512,
    "encoder": {"name": "resnet18", "stem": "cifar", "stem_init": "torch"},
    "method": V1["method"] | {"queue_rows": 4096, "momentum": 0.99, "temperature": 0.1},
    "views": V1["views"]
    | {
        "side_px": 32,
        "crop_scale": [0.08, 1.0],
        "jitter_p": 0.8,
        "hue": 0.1,
        "grey_first": False,
        "normalize": {"mean": CIFAR10_MEAN, "std": CIFAR10_STD},
    },
    "optim": V1["optim"] | {"lr": 0.06, "weight_decay": 5e-4},
    "schedule": {"name": "cosine", "per": "epoch", "first_epoch": 1, "warmup_epochs": 0.0},
    "evaluation": {"name": "knn", "k": 200, "temperature": 0.1, "feature": "projection"},
}
"""`colab/moco_cifar10_demo.ipynb`: kNN 82.6 % after 200 epochs, symmetric 85.3 %."""

PRESETS: dict[PresetName, Preset] = {
    "moco-v1": Preset("MoCo v1 (arXiv:1911.05722 and the authors' main_moco.py)", V1),
    "moco-v2": Preset("MoCo v2 (arXiv:2003.04297 and the authors' main_moco.py)", V2),
    "moco-cifar10": Preset("the MoCo authors' CIFAR-10 notebook", CIFAR10),
}

CHOSEN_BY_NAME = ("method.", "optim.", "schedule.", "evaluation.")
"""Parts that have other fields under another name."""


class Filled(NamedTuple):
    """A spec with the values of its preset."""

    spec: JobSpec
    reasons: dict[str, str]
    """Dotted field name -> where its value comes from. Only fields that the preset filled."""


def with_preset(spec: JobSpec) -> Filled:
    """Return `spec` with the preset's value for each field that it leaves out.

    A spec that names another method, optimizer, schedule or evaluator than the preset keeps all of
    that section. Idempotent: a second call changes nothing and gives no reasons. Raises SpecError
    if a value of the spec does not fit the preset's.
    """
    if spec.preset is None:
        return Filled(spec, {})
    preset = PRESETS[spec.preset]
    own = spec.model_dump(exclude_unset=True)
    merged, filled = _merged(preset.values, own)
    try:
        made = JobSpec.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(path_in(merged, first, first["loc"]))
        detail = f"does not fit the preset {spec.preset}: {message_of(first)}"
        raise SpecError(detail, field=field) from error
    reason = f"preset {spec.preset}: {preset.source}"
    return Filled(made, dict.fromkeys(filled, reason))


def _merged(preset: Nested, own: Nested, prefix: str = "") -> tuple[Nested, list[str]]:
    """Return both with `own` on top, and the dotted names of what came from the preset."""
    if prefix in CHOSEN_BY_NAME and own.get("name", preset["name"]) != preset["name"]:
        return own, []
    merged, filled = dict(own), []
    for key, value in preset.items():
        dotted = f"{prefix}{key}"
        if key not in own:
            merged[key] = value
            filled += _names(value, dotted)
        elif isinstance(value, dict) and isinstance(own[key], dict):
            merged[key], inner = _merged(value, own[key], f"{dotted}.")
            filled += inner
    return merged, filled


def _names(value: Any, dotted: str) -> list[str]:  # noqa: ANN401 - any JSON
    """Return the dotted names of the fields in a value; `views.normalize` is one field."""
    if not isinstance(value, dict) or dotted == "views.normalize":
        return [dotted]
    return [f"{dotted}.{key}" for key in value]

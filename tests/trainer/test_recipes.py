"""The recipes against the table of the papers, as a user would send them."""

from typing import Any

import pytest

from trainer.events import DatasetFacts
from trainer.recipes import moco_cifar10, moco_v1, moco_v2
from trainer.spec import JobSpec
from trainer.suggest import resolve

FACTS = DatasetFacts(
    rows=50_000,
    bad_files=0,
    duplicates=0,
    side_px_min=32,
    side_px_median=32,
    side_px_max=32,
    same_size=True,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    size_bytes=1,
    sha256="0" * 64,
)
V1 = {
    "encoder.name": "resnet50",
    "encoder.stem": "imagenet",
    "epochs": 200,
    "batch_rows": 256,
    "method.queue_rows": 65536,
    "method.momentum": 0.999,
    "method.temperature": 0.07,
    "method.dim": 128,
    "method.head": "linear",
    "method.symmetric": False,
    "method.bn": "split",
    "method.bn_splits": 8,
    "method.negatives_start": "random",
    "optim.name": "sgd",
    "optim.lr": 0.03,
    "optim.momentum": 0.9,
    "optim.weight_decay": 1e-4,
    "optim.nesterov": False,
    "schedule.name": "steps",
    "schedule.epochs": [120, 160],
    "schedule.factor": 0.1,
    "schedule.warmup_epochs": 0.0,
    "partial_batch": "drop",
    "views.side_px": 224,
    "views.crop_scale": [0.2, 1.0],
    "views.flip_p": 0.5,
    "views.jitter_p": 1.0,
    "views.brightness": 0.4,
    "views.contrast": 0.4,
    "views.saturation": 0.4,
    "views.hue": 0.4,
    "views.grey_p": 0.2,
    "views.grey_first": True,
    "views.blur_p": 0.0,
    "views.solarize_p": 0.0,
}
V2 = V1 | {
    "method.head": "mlp",
    "method.temperature": 0.2,
    "schedule.name": "cosine",
    "schedule.per": "epoch",
    "views.jitter_p": 0.8,
    "views.hue": 0.1,
    "views.grey_first": False,
    "views.blur_p": 0.5,
    "views.blur_sigma_px": [0.1, 2.0],
}
for gone in ("schedule.epochs", "schedule.factor"):
    V2.pop(gone)
CIFAR = V1 | {
    "encoder.name": "resnet18",
    "encoder.stem": "cifar",
    "batch_rows": 512,
    "method.queue_rows": 4096,
    "method.momentum": 0.99,
    "method.temperature": 0.1,
    "optim.lr": 0.06,
    "optim.weight_decay": 5e-4,
    "schedule.name": "cosine",
    "schedule.per": "epoch",
    "views.side_px": 32,
    "views.crop_scale": [0.08, 1.0],
    "views.jitter_p": 0.8,
    "views.hue": 0.1,
    "views.grey_first": False,
    "evaluation.k": 200,
    "evaluation.temperature": 0.1,
    "evaluation.feature": "projection",
}
for gone in ("schedule.epochs", "schedule.factor"):
    CIFAR.pop(gone)


@pytest.mark.parametrize(
    ("spec", "table"),
    [
        (moco_v1("imagenet"), V1),
        (moco_v2("imagenet"), V2),
        (moco_cifar10("cifar10", test_dataset="test"), CIFAR),
        (
            moco_cifar10("cifar10", test_dataset="test", symmetric=True),
            CIFAR | {"method.symmetric": True},
        ),
    ],
)
def test_every_value_survives_json_and_resolving(spec: JobSpec, table: dict[str, Any]) -> None:
    sent = JobSpec.model_validate_json(spec.model_dump_json())
    resolved = resolve(sent, FACTS)
    assert set(resolved.reasons) <= {"signals_every_steps"}
    words = resolved.spec.model_dump(mode="json")
    for name, value in table.items():
        found = words
        for part in name.split("."):
            found = found[part]
        assert found == value, name

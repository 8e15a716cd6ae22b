"""The presets against the papers' own numbers, as a user would send them."""

import json
import math
import re
from typing import Any, get_args

import pytest

from tests.support.data.dataset_facts import made_up_facts
from trainer.methods.moco.defaults import moco_of
from trainer.modalities.image.spec import image_encoder, image_views
from trainer.optim.schedule import TrainingLength, lr_at
from trainer.schema.errors import SpecError
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec, PresetName
from trainer.spec.presets import PRESETS, with_preset
from trainer.spec.resolved import resolved_part

FACTS = made_up_facts(labels=("a", "b"))
# main_moco.py of the authors: its argparse defaults, and the transforms without --aug-plus.
V1 = {
    "encoder.name": "resnet50",
    "encoder.stem": "imagenet",
    "precision": "fp32",
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
    "method.mask_own_keys": False,
    "method.negatives_start": "random",
    "optim.name": "sgd",
    "optim.lr": 0.03,
    "optim.momentum": 0.9,
    "optim.weight_decay": 1e-4,
    "optim.nesterov": False,
    "schedule.name": "steps",
    "schedule.epochs": [120, 160],
    "schedule.factor": 0.1,
    "schedule.first_epoch": 0,
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
    "views.normalize": "imagenet",
}
# python main_moco.py --mlp --moco-t 0.2 --aug-plus --cos
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
# The namespace that the notebook prints, its transforms, and its epochs from 1 to 200.
CIFAR = V1 | {
    "encoder.name": "resnet18",
    "encoder.stem": "cifar",
    "encoder.stem_init": "torch",
    "batch_rows": 512,
    "method.queue_rows": 4096,
    "method.momentum": 0.99,
    "method.temperature": 0.1,
    "optim.lr": 0.06,
    "optim.weight_decay": 5e-4,
    "schedule.name": "cosine",
    "schedule.per": "epoch",
    "schedule.first_epoch": 1,
    "views.side_px": 32,
    "views.crop_scale": [0.08, 1.0],
    "views.jitter_p": 0.8,
    "views.hue": 0.1,
    "views.grey_first": False,
    "views.normalize": {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]},
    "evaluation.k": 200,
    "evaluation.temperature": 0.1,
    "evaluation.feature": "projection",
}
for gone in ("schedule.epochs", "schedule.factor"):
    CIFAR.pop(gone)
SUGGESTED = {"signals_every_steps"}
"""Fields that no recipe states."""


def value_of(words: dict[str, Any], dotted: str) -> Any:  # noqa: ANN401 - any JSON
    for part in dotted.split("."):
        words = words[part]
    return words


def sent(**fields: Any) -> JobSpec:  # noqa: ANN401 - any JSON
    return JobSpec.model_validate_json(json.dumps({"dataset": "images", **fields}))


def test_every_name_has_a_preset() -> None:
    assert set(PRESETS) == set(get_args(PresetName))


@pytest.mark.parametrize(
    ("preset", "table"), [("moco-v1", V1), ("moco-v2", V2), ("moco-cifar10", CIFAR)]
)
def test_a_preset_has_the_values_of_its_source(preset: str, table: dict[str, Any]) -> None:
    resolved = resolve(sent(preset=preset), FACTS)
    words = json.loads(resolved.spec.model_dump_json())
    for name, value in table.items():
        assert value_of(words, name) == value, name
        assert resolved.reasons[name].startswith(f"preset {preset}: ")
    again = JobSpec.model_validate_json(resolved.spec.model_dump_json())
    assert resolve(again, FACTS).spec == resolved.spec
    assert not resolve(again, FACTS).reasons
    assert not resolve(resolved.spec, FACTS).reasons


def test_own_values_take_precedence() -> None:
    spec = sent(
        preset="moco-v1",
        epochs=5,
        views={"side_px": 96},
        schedule={"name": "constant"},
        encoder={"name": "resnet18"},
        method={"symmetric": True},
    )
    resolved = resolve(spec, FACTS)
    words = resolved.spec
    assert (words.epochs, image_views(words).side_px, image_views(words).hue) == (5, 96, 0.4)
    assert words.schedule.name == "constant"
    assert (image_encoder(words).name, image_encoder(words).stem) == ("resnet18", "imagenet")
    assert (moco_of(words).symmetric, moco_of(words).temperature) == (True, 0.07)
    given = {"epochs", "views.side_px", "schedule.name", "encoder.name", "method.symmetric"}
    assert not given & resolved.reasons.keys()
    assert "schedule.epochs" not in resolved.reasons


def test_a_value_that_does_not_fit_is_named() -> None:
    spec = sent(preset="moco-v1", schedule={"per": "step"})
    with pytest.raises(SpecError, match="preset moco-v1") as error:
        with_preset(spec)
    assert "schedule" in str(error.value)


def test_the_notebook_counts_epochs_from_1() -> None:
    """Rates of its log, which prints six digits: epoch 1 of 200 has already moved."""
    spec = with_preset(sent(preset="moco-cifar10")).spec
    length = TrainingLength(epochs=200, steps_per_epoch=97)
    peak = spec.optim.lr or 0.0
    schedule = resolved_part(spec.schedule.model_copy(update={"warmup_from": 1}))
    rates = [lr_at(97 * n, spec=schedule, peak=peak, length=length) for n in range(200)]
    logged = {1: 0.059996, 2: 0.059985, 3: 0.059967, 10: 0.059631, 20: 0.058532, 32: 0.056289}
    for epoch, rate in logged.items():
        assert rates[epoch - 1] == pytest.approx(rate, abs=6e-7)
    assert rates[199] == 0.0
    expected = [0.03 * (1.0 + math.cos(math.pi * epoch / 200)) for epoch in range(1, 201)]
    assert rates == pytest.approx(expected, abs=1e-12)


def test_sources_name_papers_or_their_code() -> None:
    for preset in PRESETS.values():
        assert re.search(r"arXiv:\d{4}\.\d{5}|notebook", preset.source)

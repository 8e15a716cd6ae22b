"""Defaults of MoCo v3, each with its reason."""

from trainer.methods.head_rules import TARGET_RULES
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, Rules


def _is_vit(spec: JobSpec) -> bool:
    return spec.encoder.name.startswith("vit")


def _layers(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if _is_vit(spec):
        return 3, "the paper's value for a ViT"
    return 2, "the paper's value for a convolutional network"


def _predictor_batch_norm(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if _is_vit(spec):
        return "all", "the authors' code for a ViT"
    return "hidden", "the authors' code for a convolutional network"


def _temperature(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if _is_vit(spec):
        return 0.2, "the paper's value for a ViT"
    if spec.views.is_small:
        return 0.2, "common for CIFAR-10"
    return 1.0, "the authors' value for ResNet-50"


RULES: Rules = (
    *TARGET_RULES,
    ("method.head_layers", _layers),
    ("method.predictor_batch_norm", _predictor_batch_norm),
    ("method.temperature", _temperature),
)

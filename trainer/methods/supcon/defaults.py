"""Defaults of supervised contrast, each with its reason."""

from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, Rules


def _temperature(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.views.is_small:
        return 0.2, "a published recipe's value for CIFAR-10"
    return 0.1, "the paper's value for ImageNet"


RULES: Rules = (("method.temperature", _temperature),)

"""Defaults of VICReg, each with its reason."""

from trainer.methods.head_rules import QUICK_HIDDEN
from trainer.methods.vicreg.spec import VICRegSpec
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, Rules, filled

SMALL_HIDDEN, HIDDEN = 2048, 8192


def _hidden(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.encoder.is_quick:
        return QUICK_HIDDEN, "twice the features of the small encoder"
    if spec.views.is_small:
        return SMALL_HIDDEN, "common for CIFAR-10"
    return HIDDEN, "the paper's value for ImageNet"


def _dim(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    assert isinstance(spec.method, VICRegSpec)
    return filled(spec.method.head_hidden), "as wide as the hidden layers, as in the paper"


RULES: Rules = (("method.head_hidden", _hidden), ("method.dim", _dim))

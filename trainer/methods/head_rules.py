"""Defaults of heads and target encoders that several methods share, each with its reason."""

from trainer.methods.head_settings import PredictorSettings
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, Rules, filled

QUICK_HIDDEN, HIDDEN = 512, 4096


def _hidden(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.encoder.is_quick:
        return QUICK_HIDDEN, "twice the features of the small encoder"
    return HIDDEN, "the papers' value"


def _predictor_hidden(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    assert isinstance(spec.method, PredictorSettings)
    return filled(spec.method.head_hidden), "as wide as the projection head"


def _momentum(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    """Choose m as BYOL's authors do by the number of epochs."""
    epochs = filled(spec.epochs)
    for epochs_max, momentum in ((40, 0.97), (300, 0.99)):
        if epochs <= epochs_max:
            return momentum, f"BYOL's value for up to {epochs_max} epochs"
    return 0.996, "BYOL's value for more than 300 epochs"


HEAD_RULES: Rules = (("method.head_hidden", _hidden),)
PREDICTOR_RULES: Rules = (*HEAD_RULES, ("method.predictor_hidden", _predictor_hidden))
TARGET_RULES: Rules = (*PREDICTOR_RULES, ("method.momentum", _momentum))

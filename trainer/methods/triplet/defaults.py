"""Defaults of triplets, each with its reason."""

from trainer.methods.triplet.spec import TripletSpec
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, Rules


def _squared(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    assert isinstance(spec.method, TripletSpec)
    if spec.method.mining == "batch_hard":
        return False, "the plain distance of the paper on hard triplets"
    return True, "the squared distance of FaceNet, which its margin of 0.2 is for"


RULES: Rules = (("method.squared", _squared),)

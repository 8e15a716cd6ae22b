"""Checks of the pretexts of a job. Loads no tensors."""

from trainer.pretexts.registry import part_of
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec


def check_auxiliary(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError for a pretext that does not fit the job."""
    for index, pretext in enumerate(spec.auxiliary):
        part_of(pretext.name, "defaults").check(spec, facts, pretext, field=f"auxiliary.{index}")


def held_out_signals(spec: JobSpec) -> list[str]:
    """Return the signals of the job's pretexts on held-out images that get better."""
    return [
        name
        for pretext in spec.auxiliary
        for name, signal in part_of(pretext.name, "spec").TEST_SIGNALS.items()
        if signal.better
    ]

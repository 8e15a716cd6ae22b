"""Fine-tuning from a few labels, from an encoder pretrained without labels and from random weights.

Both have the same labels, steps and views. The pretrained encoder has the suggested learning rate;
random weights have multiples of theirs, and the best on the test images counts, in their favor.
Each seed pretrains an encoder, and draws labels, of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.suites.breadth import pneumonia
from benchmarks.suites.breadth.archives import Images, digits_of
from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.jobs import Experiment, Settings, over_seeds
from benchmarks.suites.breadth.lab import Lab, Piece, Task
from benchmarks.suites.finetune import PRETRAIN, STRONG
from trainer.schema.artifact_names import WEIGHTS

RATES = (1.0, 3.0)
"""Multiples of the suggested learning rate for random weights."""
LABELS = 5
"""Labels of each class."""
ENCODER: Settings = {"encoder": {"name": "small"}}
DIGIT_VIEWS: Settings = {"side_px": 16, "flip_p": 0.0}
DIGITS_DONOR: Settings = {
    **ENCODER,
    **PRETRAIN,
    "views": {**DIGIT_VIEWS, **STRONG},
    "epochs": 40,
}
LUNG_VIEWS: Settings = {"side_px": 28, "flip_p": 0.0, "brightness": 0.2, "contrast": 0.2}
"""No flips, which would put the heart on the other side, and little change of gray values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Images to pretrain on and to draw labels of, others to ask for, and the settings."""

    title: str
    signal: str
    """Figure of the classifier that counts."""
    figure: str
    """Its name in the table."""
    donor: Experiment
    job: Experiment
    """Fine-tuning; `init_from` and the learning rate are left out."""


def job_settings(views: Settings, *, epochs: int) -> dict[str, Any]:
    """Return a job of kind `finetune` with the suggested settings but for views and length."""
    return {
        **ENCODER,
        "kind": "finetune",
        "method": {"labels_per_class": LABELS},
        "views": dict(views),
        "epochs": epochs,
        "evaluation": {"name": "classifier", "every_epochs": epochs},
    }


JOBS: Mapping[str, Mapping[str, Any]] = {
    "digits": job_settings(DIGIT_VIEWS, epochs=20),
    "pneumonia": job_settings(LUNG_VIEWS, epochs=120),
}
"""Fine-tuning jobs; both have 120 steps."""


def few_labels(lab: Lab) -> Iterator[Row]:
    """Yield a row for each set of images: pretrained minus random weights."""
    for trial in (digits_trial(lab), pneumonia_trial(lab)):
        figures = over_seeds(lab.pieces(tasks(trial, lab)))
        gain = figures["pretrained"] - figures["scratch"]
        yield Row(
            claim=f"fine-tuning with {LABELS} labels of each class: {trial.figure} minus that "
            "from random weights",
            data=trial.title,
            figure=f"{gain}, paired",
            baseline=f"{figures['pretrained'].mean:.3f} from the pretrained encoder, "
            f"{figures['scratch'].mean:.3f} from random weights",
            wanted="lower end > 0",
            is_met=gain.interval[0] > 0.0,
        )


def digits_trial(lab: Lab) -> Trial:
    """Return the trial on one half of the digits, with the other half to ask for."""
    train, test = (_half(lab, each) for each in (0, 1))
    return Trial(
        title=f"digits: {DIGITS_DONOR['epochs']} epochs without labels on one half, 120 steps with "
        "them; the other half asked",
        signal="classifier_top1",
        figure="accuracy",
        donor=Experiment("digits-donor", DIGITS_DONOR, train),
        job=Experiment("few-digits", JOBS["digits"], train, test),
    )


def pneumonia_trial(lab: Lab) -> Trial:
    """Return the trial on chest X-rays."""
    train, test = (pneumonia.images_of_part(lab, part) for part in ("train", "test"))
    return Trial(
        title="PneumoniaMNIST: the encoder of the linear probe, 120 steps with labels; 624 test "
        "rows",
        signal="classifier_auroc",
        figure="AUROC",
        donor=Experiment("pneumonia", pneumonia.SETTINGS, train),
        job=Experiment("few-pneumonia", JOBS["pneumonia"], train, test),
    )


def _half(lab: Lab, half: int) -> Images:
    return digits_of(lab, f"digits-half-{half}", is_chosen=lambda row: row % 2 == half)


def tasks(trial: Trial, lab: Lab) -> list[Task]:
    """Return the measurement of both for each seed."""
    measurements = []
    for seed in range(lab.seeds):
        specs = [each.spec(seed).model_dump(mode="json") for each in (trial.donor, trial.job)]
        settings = {"jobs": specs, "rates": RATES}
        measurements.append(
            Task(f"{trial.job.name}-{seed}", settings, partial(_pair, trial, seed, lab))
        )
    return measurements


def _pair(trial: Trial, seed: int, lab: Lab) -> Piece:
    weights = trial.donor.encoder(trial.donor.spec(seed), lab)
    begun = {"init_from": {"weights": WEIGHTS}}
    pretrained = replace(trial.job, settings={**trial.job.settings, **begun})
    result = {"pretrained": pretrained.run(pretrained.spec(seed), lab, init=weights)}
    for rate in RATES:
        lr = rate * trial.job.spec(seed).optim.lr
        job = replace(trial.job, settings={**trial.job.settings, "optim": {"lr": lr}})
        result[f"scratch_at_{rate:g}"] = job.run(job.spec(seed), lab)
    values = {name: trained.signals[trial.signal] for name, trained in result.items()}
    return {**values, "scratch": max(values[f"scratch_at_{rate:g}"] for rate in RATES)}


CLAIMS = (
    Claim(
        name="few_labels",
        kind="images",
        files=("pneumonia-train.zip", "pneumonia-test.zip"),
        settings={"jobs": JOBS, "donors": [DIGITS_DONOR, pneumonia.SETTINGS], "rates": RATES},
        measure=few_labels,
    ),
)

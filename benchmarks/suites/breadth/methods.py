"""Every method against its untrained encoder, and three of them against LightlySSL's own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.arms.lightly_methods import PEERS, train_peer
from benchmarks.harness.report import cores
from benchmarks.suites.breadth.archives import Images, balanced, chosen, digits_of, images_of
from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.figures import Figure
from benchmarks.suites.breadth.jobs import Experiment, over_seeds
from benchmarks.suites.breadth.lab import Lab, Task
from benchmarks.suites.breadth.networks import evaluated
from trainer.data.pack.format import Pack
from trainer.methods.registry import method_names
from trainer.spec.resolved import ResolvedSpec

LABELS: Mapping[str, Any] = {"positives": {"name": "label"}}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "none": {"auxiliary": [{"name": "rotation"}]},
    "siamese": LABELS,
    "supcon": LABELS,
    "triplet": {**LABELS, "batching": {"name": "balanced"}},
}
"""Settings of a method beside its defaults: those that are meant for labels get them, and the one
without a loss of its own gets a pretext."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Length and views of every method's training; not chosen on the rows that are tested."""

    epochs: int
    views: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Images, and how long a method learns from them."""

    name: str
    title: str
    images: Images
    recipe: Recipe
    apart: float
    """Largest difference of means from LightlySSL's."""
    test: Images | None = None

    def experiment(self, method: str, *, by: str = "ours") -> Experiment:
        """Return the job of a method."""
        settings = settings_of(method, self.recipe)
        return Experiment(f"{self.name}-{method}-{by}", settings, self.images, self.test)


def settings_of(method: str, recipe: Recipe) -> dict[str, Any]:
    """Return the job of a method: its defaults with the small encoder."""
    return {
        "encoder": {"name": "small"},
        "epochs": recipe.epochs,
        "evaluation": {"name": "knn", "every_epochs": recipe.epochs, "feature": "backbone"},
        "views": dict(recipe.views),
        "method": {"name": method},
        **RECIPES.get(method, {}),
    }


DIGITS = Recipe(20, {"side_px": 16, "flip_p": 0.0, "crop_scale": (0.5, 1.0)})
"""No flips, which make no digit of a digit, and no small crops, which may be part of any. The
images are 8 x 8 pixels, enlarged: 16 lose nothing."""
TESTED_THIRD = 2
"""Digits whose number has this remainder by 3 are tested: 599, for less noise than a tenth has."""
CIFAR = Recipe(5)
CIFAR_ROWS, CIFAR_TEST_ROWS = 10_000, 2_000


def digits(lab: Lab) -> Iterator[Row]:
    """Yield the rows of scikit-learn's digits. Every seed is tested on the same third of them."""
    train = digits_of(lab, "digits-train-thirds", is_chosen=lambda row: row % 3 != TESTED_THIRD)
    test = digits_of(lab, "digits-tested-third", is_chosen=lambda row: row % 3 == TESTED_THIRD)
    title = f"digits at 16 px, {DIGITS.epochs} epochs; every third digit is tested, 599 of 1,797"
    trial = Trial(name="digits", title=title, images=train, recipe=DIGITS, apart=0.02, test=test)
    return rows_of(trial, lab)


def cifar10(lab: Lab) -> Iterator[Row]:
    """Yield the rows of 10,000 images of CIFAR-10."""
    train, test = cifar10_images(lab)
    title = f"CIFAR-10, 10,000 rows, {CIFAR.epochs} epochs; 2,000 test images"
    trial = Trial(name="cifar10", title=title, images=train, recipe=CIFAR, apart=0.03, test=test)
    return rows_of(trial, lab)


def cifar10_images(lab: Lab) -> tuple[Images, Images]:
    """Return 10,000 images to train on and 2,000 to test with, as many of each class."""
    return cifar10_part(lab, "train", CIFAR_ROWS), cifar10_part(lab, "test", CIFAR_TEST_ROWS)


def cifar10_part(lab: Lab, part: str, rows: int, *, name: str | None = None) -> Images:
    """Return so many images of `train` or `test`, as many of each class, under a name."""
    path = lab.data / f"cifar10-{part}.zip"
    return images_of(lab, name or f"cifar10-{part}", lambda: chosen(path, balanced(path, rows)))


def rows_of(trial: Trial, lab: Lab) -> Iterator[Row]:
    """Yield a row for each method, and one more for each that LightlySSL has."""
    ours = [task for each in method_names() for task in trial.experiment(each).last_signals(lab)]
    theirs = [
        task for each in method_names() if each in PEERS for task in peer_tasks(trial, each, lab)
    ]
    lab.measure([*theirs, *ours])  # the longest first, so that no core is idle at the end
    for method in method_names():
        signals = trial.experiment(method).signals(lab)
        trained, untrained = signals["knn_top1"], signals["knn_top1_untrained"]
        gain = trained - untrained
        yield Row(
            claim=f"{method}: kNN above the untrained encoder",
            data=trial.title,
            figure=str(trained),
            baseline=f"untrained {untrained}; raw pixels {signals['knn_top1_raw'].mean:.3f}",
            wanted=f"difference > 0 (it is {gain})",
            is_met=gain.interval[0] > 0.0,
        )
        if method in PEERS:
            yield compared(method, trial, trained, lab)


def compared(method: str, trial: Trial, ours: Figure, lab: Lab) -> Row:
    """Return the row of our mean beside LightlySSL's, with the same recipe and seeds."""
    theirs = over_seeds(lab.pieces(peer_tasks(trial, method, lab)))["knn_top1"]
    difference = ours.mean - theirs.mean
    return Row(
        claim=f"{method}: as LightlySSL's own",
        data=trial.title,
        figure=f"{ours.mean:.3f} (standard error {ours.standard_error:.3f})",
        baseline=f"{theirs.mean:.3f} (standard error {theirs.standard_error:.3f})",
        wanted=f"means within {trial.apart} (they are {difference:+.3f} apart)",
        is_met=abs(difference) <= trial.apart,
    )


def peer_tasks(trial: Trial, method: str, lab: Lab) -> list[Task]:
    """Return the measurement of LightlySSL's method for each seed."""
    experiment = trial.experiment(method, by="lightly")
    return experiment.tasks(lab, lambda spec: peer_signals(spec, trial, lab))


def peer_signals(spec: ResolvedSpec, trial: Trial, lab: Lab) -> dict[str, float]:
    """Train the peer and return its kNN accuracy, by the same evaluator on the same rows."""
    workers = lab.threads or cores()
    peer = train_peer(spec, Pack.open(trial.images.pack), workers=workers)
    return evaluated(peer, spec, trial.images, trial.test)


CLAIMS = (
    Claim(
        name="digits",
        kind="images",
        settings={
            "tested_third": TESTED_THIRD,
            **{name: settings_of(name, DIGITS) for name in method_names()},
        },
        measure=digits,
    ),
    Claim(
        name="cifar10",
        kind="images",
        files=("cifar10-train.zip", "cifar10-test.zip"),
        settings={name: settings_of(name, CIFAR) for name in method_names()},
        measure=cifar10,
    ),
)

"""Chest X-rays: what labels are worth on features that were learned without them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.suites.breadth.archives import Images, chosen, images_of
from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.figures import Figure, Values, auroc, bootstrap, with_interval
from benchmarks.suites.breadth.jobs import Embedded, Experiment, embedded
from benchmarks.suites.breadth.lab import Lab, Piece
from benchmarks.suites.breadth.pixels import raw_pixels
from benchmarks.suites.breadth.probes import (
    FEW,
    FEW_DRAWS,
    Mask,
    Part,
    Scores,
    Split,
    probe_all,
    probe_few,
    threshold_at,
)
from trainer.spec.resolved import ResolvedSpec

SIDE_PX = 28
PARTS = ("train", "val", "test")
WANTED = {"all": 0.94, "few": 0.91}
SUPERVISED = "MedMNIST's supervised ResNet-18 .944"
SPECIFICITY = 0.95
DATA = "PneumoniaMNIST, pretrained without labels; 624 test rows"
SETTINGS: Mapping[str, Any] = {
    "encoder": {"name": "small"},
    "method": {"name": "simclr"},
    "batch_rows": 128,
    # The gray of a lung is the finding: crops stay large, and contrast changes little.
    "views": {
        "side_px": 28,
        "crop_scale": (0.5, 1.0),
        "brightness": 0.2,
        "contrast": 0.2,
    },
    "epochs": 20,
    "schedule": {"name": "cosine", "per": "step"},
    "evaluation": None,
}
"""Settings of the method's recipes; not tuned on the validation rows yet."""


@dataclass(frozen=True, slots=True)
class Probed:
    """Scores of the test rows, and the threshold of the validation rows."""

    scores: dict[str, Values]
    """By `all` and `few`, [draws, rows]."""
    threshold: float

    @classmethod
    def of(cls, split: Split) -> "Probed":
        """Fit the probes of both."""
        every, few = probe_all(split), probe_few(split)
        return cls({"all": every.test, "few": few.test}, _threshold(every, split))

    def piece(self) -> Piece:
        """Return it as JSON has it."""
        scores = {name: values.round(5).tolist() for name, values in self.scores.items()}
        return {"scores": scores, "threshold": self.threshold}

    @classmethod
    def read(cls, piece: Piece) -> "Probed":
        """Return what `piece` gave."""
        scores = {name: np.array(values) for name, values in piece["scores"].items()}
        return cls(scores, piece["threshold"])


def _threshold(scores: Scores, split: Split) -> float:
    return threshold_at(scores.val[0], split.val.positive, specificity=SPECIFICITY)


def pneumonia(lab: Lab) -> Iterator[Row]:
    """Yield the rows of all labels, of a few labels, and of a high specificity."""
    parts = {part: images_of_part(lab, part) for part in PARTS}
    experiment = Experiment("pneumonia", SETTINGS, parts["train"])

    def measure(spec: ResolvedSpec) -> Piece:
        trained = experiment.run(spec, lab)
        experiment.keep(trained, spec, lab)
        rows = [embedded(trained.artifacts, parts[part].archive, lab) for part in PARTS]
        return Probed.of(Split(*map(_part, rows))).piece()

    probed = [Probed.read(piece) for piece in experiment.pieces(lab, measure)]
    raw = Probed.read(lab.piece("pneumonia-raw", SIDE_PX, lambda: _raw(parts).piece()))
    positive = _part(_pixels(parts["test"])).positive
    for kind, labels in (("all", "all 4,708 labels"), ("few", f"{FEW} labels of each class")):
        yield from _compared(kind, labels, probed, raw, positive)
    yield _at_specificity(probed, raw, positive)


def images_of_part(lab: Lab, part: str) -> Images:
    """Return the images of `train`, `val` or `test`."""
    path = lab.data / f"pneumonia-{part}.zip"
    return images_of(lab, f"pneumonia-{part}", lambda: chosen(path, str))


def _pixels(images: Images) -> Embedded:
    names, values = raw_pixels(images.archive, SIDE_PX)
    return Embedded(names, np.array([name.partition("/")[0] for name in names]), values)


def _raw(parts: Mapping[str, Images]) -> Probed:
    return Probed.of(Split(*(_part(_pixels(parts[part])) for part in PARTS)))


def _part(rows: Embedded) -> Part:
    return Part(rows.values, rows.labels == "pneumonia")


def _compared(
    kind: str, labels: str, probed: Sequence[Probed], raw: Probed, positive: Mask
) -> Iterator[Row]:
    """Yield the difference to raw pixels, and the figure itself."""
    ours = np.stack([each.scores[kind] for each in probed])
    figure = Figure(tuple(float(auroc(seed, positive).mean()) for seed in ours))
    baseline = float(auroc(raw.scores[kind], positive).mean())

    def difference(rows: Any) -> float:  # noqa: ANN401 - rows of a bootstrap
        some = positive[rows]
        areas = auroc(ours[..., rows], some).mean(), auroc(raw.scores[kind][:, rows], some).mean()
        return float(areas[0] - areas[1])

    bounds = bootstrap(difference, len(positive))
    draws = f", mean of {FEW_DRAWS} draws" if kind == "few" else ""
    yield Row(
        claim=f"linear probe, {labels}: AUROC minus that of raw pixels{draws}",
        data=DATA,
        figure=f"{with_interval(figure.mean - baseline, bounds)}, paired bootstrap",
        baseline=f"raw pixels {baseline:.3f}",
        wanted="lower end > 0",
        is_met=bounds[0] > 0.0,
    )
    yield Row(
        claim=f"linear probe, {labels}: AUROC{draws}",
        data=DATA,
        figure=str(figure),
        baseline=f"raw pixels {baseline:.3f}; {SUPERVISED}",
        wanted=f">= {WANTED[kind]} hoped for, reported either way",
    )


def _at_specificity(probed: Sequence[Probed], raw: Probed, positive: Mask) -> Row:
    sensitivities, specificities = zip(*(_rates(each, positive) for each in probed), strict=True)
    of_raw = _rates(raw, positive)
    return Row(
        claim=f"sensitivity at the threshold of specificity {SPECIFICITY} on validation rows",
        data=DATA,
        figure=f"{Figure(sensitivities)}, at a test specificity of {Figure(specificities)}",
        baseline=f"raw pixels {of_raw[0]:.3f} at {of_raw[1]:.3f}",
        wanted="reported",
    )


def _rates(probed: Probed, positive: Mask) -> tuple[float, float]:
    """Return sensitivity and specificity at the threshold."""
    called = probed.scores["all"][0] >= probed.threshold
    return float(called[positive].mean()), float((~called[~positive]).mean())


CLAIMS = (
    Claim(
        name="pneumonia",
        kind="images",
        files=tuple(f"pneumonia-{part}.zip" for part in PARTS),
        settings=SETTINGS,
        measure=pneumonia,
    ),
)

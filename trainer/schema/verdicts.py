"""The verdicts on a run: one table with its thresholds, for everything that says how a run is.

The page, `moco watch`, the model card, the alerts and the docs all take their words and numbers
from here. Pure: readings in, a verdict out; loads no tensors.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["bad", "warn", "busy", "ok"]
Line = Mapping[str, float]

READINGS = 20
"""Number of newest readings averaged, since a single batch is noisy."""
TELLING_EPOCHS = 2
"""Epochs after the queue is full of real keys before a run is judged."""
TELLING_SHARE = 0.5
"""Nearest neighbors are held against the baselines from this part of the run on, and the loss of a
classifier against chance."""
BEGUN_SHARE = 0.1
"""Part of a finetune job before which its loss says nothing: with few labels, an epoch is a step or
two."""
COLLAPSED_STD, COLLAPSING_STD = 0.1, 0.2
"""Bounds of `embedding_std_ratio`: 1 is spread over the sphere, 0 is a single point."""
RECOVERING_GAIN = 1.05
"""Ratio of the newer to the older half of the readings from which the spread counts as rising.

Methods without negatives often start with a narrow cone of embeddings that opens later.
"""
AT_CHANCE, WEAK, ABOVE_CHANCE = 0.98, 0.9, 1.1
"""Bounds of `loss` / `chance_loss`."""
GUESSING_TOP1 = 0.5
"""Contrastive top-1 above which a run is not at chance, whatever its loss.

A high temperature keeps the loss of the best encoder near chance.
"""
EASY_TOP1 = 0.99
"""Contrastive top-1 above which the task counts as too easy."""
LOST_DISTANCE = 0.5
"""Value of `key_encoder_distance_ratio` that shows a key encoder far from a collapsed one."""
GAIN_MIN = 0.02
"""Gain in `knn_top1` over the best baseline that counts as one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Newest readings of a run. A signal that was not read is None."""

    share: float
    """Part of the planned steps that is done."""
    epoch: float
    queue_dataset_ratio: float
    loss: float | None = None
    chance: float | None = None
    top1: float | None = None
    std: float | None = None
    std_gain: float = 1.0
    """Spread of the newer half of the readings over that of the older half."""
    distance: float | None = None
    knn: float | None = None
    baselines: tuple[tuple[str, float], ...] = ()
    """(name, `knn_top1` of it): raw input, untrained encoder, majority class."""
    filling: tuple[tuple[str, float], ...] = ()
    """(what fills, its share so far): all that is not yet full."""
    is_finetune: bool = False
    """True for a job that trains a classifier: it is judged by its loss alone."""

    @property
    def is_telling(self) -> bool:
        """Return whether the run is far enough to be judged by its loss and spread."""
        if self.is_finetune and self.share < BEGUN_SHARE:
            return False
        return self.epoch >= TELLING_EPOCHS + min(1.0, self.queue_dataset_ratio)

    @property
    def loss_ratio(self) -> float | None:
        """Loss over the loss of guessing."""
        if self.loss is None or not self.chance:
            return None
        return self.loss / self.chance

    @property
    def best(self) -> tuple[str, float] | None:
        """The best baseline."""
        return max(self.baselines, key=lambda pair: pair[1], default=None)

    @property
    def raw(self) -> float | None:
        """`knn_top1` of the raw input."""
        return dict(self.baselines).get("raw input")

    @property
    def guesses(self) -> bool:
        """Return whether queries find their keys too rarely for anything but guessing."""
        return self.top1 is None or self.top1 < GUESSING_TOP1


class Verdict(NamedTuple):
    """One row of the table."""

    code: str
    kind: Kind
    word: str
    when: str
    """The rule in words."""
    advice: str
    evidence: Callable[[Reading], str | None]
    """The numbers that speak for it; None where it does not apply."""
    finetune_advice: str | None = None
    """Advice for a finetune job, where it is another one."""


class Judgement(NamedTuple):
    """A verdict with its evidence."""

    verdict: Verdict
    evidence: str
    is_finetune: bool = False

    @property
    def advice(self) -> str:
        """Return what to do, for this kind of job."""
        other = self.verdict.finetune_advice if self.is_finetune else None
        return other or self.verdict.advice


def judge(lines: Iterable[Line], *, share: float, fills: Mapping[str, str]) -> Judgement:
    """Return the first verdict of the table that applies to the lines of a history, oldest first.

    `share` is the part of the planned steps that is done; 1.0 for a run that has ended. `fills`
    maps a signal to what fills while it is below 1.
    """
    reading = read(lines, share=share, fills=fills)
    for verdict in VERDICTS:
        evidence = verdict.evidence(reading)
        if evidence is not None:
            return Judgement(verdict, evidence, reading.is_finetune)
    raise AssertionError("the last verdict applies to every reading")


def read(lines: Iterable[Line], *, share: float, fills: Mapping[str, str]) -> Reading:
    """Return means of the newest readings, and the newest evaluation."""
    all_lines = list(lines)
    stepped = [line for line in all_lines if "loss" in line][-READINGS:]
    newest = stepped[-1] if stepped else {}
    is_finetune = CLASSIFIER_SIGNAL in newest
    judged = [] if is_finetune else all_lines
    evaluated: Line = next((line for line in reversed(judged) if "knn_top1" in line), {})
    names = {name: signal for name, signal in BASELINES.items() if signal in evaluated}
    return Reading(
        share=share,
        epoch=max((line.get("epoch", 0.0) for line in all_lines), default=0.0),
        queue_dataset_ratio=newest.get("queue_dataset_ratio", 0.0),
        loss=_mean(stepped, "loss"),
        chance=_mean(stepped, "chance_loss"),
        top1=_mean(stepped, "top1"),
        std=_mean(stepped, "embedding_std_ratio"),
        std_gain=_gain(stepped, "embedding_std_ratio"),
        distance=_mean(stepped, "key_encoder_distance_ratio"),
        knn=evaluated.get("knn_top1"),
        baselines=tuple((name, evaluated[signal]) for name, signal in names.items()),
        filling=tuple(
            (what, newest[name]) for name, what in fills.items() if newest.get(name, 1.0) < 1.0
        ),
        is_finetune=is_finetune,
    )


CLASSIFIER_SIGNAL = "train_accuracy_ratio"
"""Signal that only jobs that train a classifier have. Their nearest neighbors are not judged."""
BASELINES = {
    "raw input": "knn_top1_raw",
    "untrained encoder": "knn_top1_untrained",
    "majority class": "knn_top1_majority",
}
"""Baseline name -> signal."""


def of_code(code: str) -> Verdict:
    """Return the row of a code. Raises KeyError if there is none."""
    return {verdict.code: verdict for verdict in VERDICTS}[code]


def held_against(knn: float, baselines: Iterable[tuple[str, float]]) -> str:
    """Return a figure with its baselines in words."""
    against = ", ".join(f"{name} {value:.1%}" for name, value in baselines)
    return f"kNN top-1 {knn:.1%}" + (f" ({against})" if against else "")


def _mean(lines: list[Line], name: str) -> float | None:
    values = [line[name] for line in lines if name in line]
    return sum(values) / len(values) if values else None


def _gain(lines: list[Line], name: str) -> float:
    """Return the mean of the newer half of the lines over that of the older half."""
    middle = len(lines) // 2
    older, newer = _mean(lines[:middle], name), _mean(lines[middle:], name)
    return newer / older if older and newer is not None else 1.0


def _diverged(reading: Reading) -> str | None:
    loss, ratio = reading.loss, reading.loss_ratio
    if loss is not None and not math.isfinite(loss):
        return "The loss is not a finite number."
    if not reading.is_telling:
        return None
    if ratio is not None and ratio >= ABOVE_CHANCE:
        return f"{_loss(reading)}: worse than chance."
    is_lost = reading.distance is not None and reading.distance >= LOST_DISTANCE
    if is_lost and reading.std is not None and reading.std < COLLAPSED_STD:
        return (
            f"The weights jump: the key encoder lags by {reading.distance:.0%} of their norm, "
            f"and the embedding spread is {reading.std:.3f}."
        )
    return None


def _collapsed(reading: Reading) -> str | None:
    if not reading.is_telling or reading.std is None or reading.std >= COLLAPSED_STD:
        return None
    return f"The embedding spread is {reading.std:.3f}; 1 is healthy, 0 is a single point."


def _at_chance(reading: Reading) -> str | None:
    is_far = _is_compared(reading) if reading.is_finetune else reading.is_telling
    if not is_far or not reading.guesses or not _is_chance(reading):
        return None
    return f"{_loss(reading)}."


def _is_chance(reading: Reading) -> bool:
    return reading.loss_ratio is not None and reading.loss_ratio >= AT_CHANCE


def _collapsing(reading: Reading) -> str | None:
    if not reading.is_telling or reading.std is None or reading.std >= COLLAPSING_STD:
        return None
    if reading.std_gain >= RECOVERING_GAIN:
        return None
    return f"The embedding spread is only {reading.std:.3f}; 1 is healthy."


def _no_better(reading: Reading) -> str | None:
    if not _is_compared(reading) or reading.knn is None or reading.raw is None:
        return None
    return f"{_knn(reading)}." if reading.knn <= reading.raw else None


def _too_early(reading: Reading) -> str | None:
    if reading.filling:
        what, ratio = reading.filling[0]
        return f"After {reading.epoch:.1f} epochs, {ratio:.0%} of the {what} is filled."
    if not reading.is_telling:
        return f"Only {reading.epoch:.1f} epochs completed."
    if reading.is_finetune and _is_chance(reading) and not _is_compared(reading):
        return f"{reading.share:.0%} of the steps completed. {_loss(reading)}."
    if not _is_compared(reading) and not _has_gained(reading):
        return f"{reading.share:.0%} of the steps completed. {_knn(reading)}."
    return None


def _gained_little(reading: Reading) -> str | None:
    if not _has_gained(reading):
        return f"{_knn(reading)}."
    ratio = reading.loss_ratio
    is_weak = ratio is not None and ratio >= WEAK and reading.guesses
    if reading.knn is None and is_weak and _is_compared(reading):
        return f"{_loss(reading)}."
    return None


def _too_easy(reading: Reading) -> str | None:
    if reading.top1 is None or reading.top1 <= EASY_TOP1 or reading.knn is not None:
        return None
    return f"Contrastive top-1 is {reading.top1:.1%}."


def _healthy(reading: Reading) -> str | None:
    evidence = [] if reading.loss is None else [_loss(reading)]
    evidence += [] if reading.std is None else [f"spread {reading.std:.2f}"]
    evidence += [] if reading.knn is None else [_knn(reading)]
    return "; ".join(evidence) + "." if evidence else "No sign of a problem."


def _is_compared(reading: Reading) -> bool:
    return reading.is_telling and reading.share >= TELLING_SHARE


def _has_gained(reading: Reading) -> bool:
    """Return whether no figure says the opposite."""
    best = reading.best
    return reading.knn is None or best is None or reading.knn >= best[1] + GAIN_MIN


def _loss(reading: Reading) -> str:
    chance = "" if reading.chance is None else f" (chance {reading.chance:.3f})"
    return f"Loss {reading.loss:.3f}{chance}"


def _knn(reading: Reading) -> str:
    return "" if reading.knn is None else held_against(reading.knn, reading.baselines)


VERDICTS: tuple[Verdict, ...] = (
    Verdict(
        "diverged",
        "bad",
        "Diverged",
        f"`loss` not finite or at least {ABOVE_CHANCE} x `chance_loss`; or `embedding_std_ratio` "
        f"below {COLLAPSED_STD} and `key_encoder_distance_ratio` at least {LOST_DISTANCE}",
        "Run again with a tenth of `optim.lr`.",
        _diverged,
    ),
    Verdict(
        "collapsed",
        "bad",
        "Collapsed",
        f"`embedding_std_ratio` below {COLLAPSED_STD}",
        "It will not recover: run again with half the `optim.lr`; with MoCo, also with "
        "`method.momentum` at 0.99 or above, and `method.bn` at split; with triplets, with "
        "`method.mining` at semi_hard.",
        _collapsed,
    ),
    Verdict(
        "at_chance",
        "warn",
        "At chance",
        f"`loss` at least {AT_CHANCE} x `chance_loss`, and `top1` below {GUESSING_TOP1}; of a "
        "finetune job, in the second half of the run",
        "Run again with half the `optim.lr`, and with weaker augmentations if a crop no longer "
        "shows the subject of the image.",
        _at_chance,
        "Check that the labels match the images, then run again with more `epochs` or three times "
        "the `optim.lr` and, if the encoder is frozen, with `method.freeze` at false.",
    ),
    Verdict(
        "collapsing",
        "warn",
        "Collapsing",
        f"`embedding_std_ratio` from {COLLAPSED_STD} to {COLLAPSING_STD} and not rising",
        "Watch the spread; if it keeps falling, run again with half the `optim.lr`.",
        _collapsing,
    ),
    Verdict(
        "no_better_than_raw",
        "warn",
        "No better than raw input",
        "`knn_top1` not above `knn_top1_raw` in the second half of the run",
        "For these classes, use raw pixels, or train longer with augmentations that preserve what "
        "distinguishes them.",
        _no_better,
    ),
    Verdict(
        "too_early",
        "busy",
        "Too early to tell",
        f"the queue is not yet full of real keys, {TELLING_EPOCHS} epochs have not passed since, "
        "or `knn_top1` has not improved yet in the first half of the run; of a finetune job, the "
        f"first {BEGUN_SHARE:.0%} of the steps, or `loss` at chance in the first half",
        "While it is running, nothing to do. If it ended like this, use more `epochs` or, with a "
        "queue, set `method.queue_rows` to a quarter of the dataset.",
        _too_early,
        "While it is running, nothing to do. If it ended like this, use more `epochs`.",
    ),
    Verdict(
        "gained_little",
        "warn",
        "Gained little",
        f"`knn_top1` less than {GAIN_MIN} above its best baseline in the second half of the run; "
        f"without labels `loss` at least {WEAK} x `chance_loss` and `top1` below {GUESSING_TOP1}",
        "Train longer (`epochs`), or choose augmentations that fit your images.",
        _gained_little,
        "Train longer (`epochs`) or, if the encoder is frozen, with `method.freeze` at false.",
    ),
    Verdict(
        "too_easy",
        "warn",
        "Too easy",
        f"`top1` above {EASY_TOP1}, and no `knn_top1` to show whether the encoder still improves",
        "Use more negatives (`method.queue_rows`, or `batch_rows` without a queue) or stronger "
        "augmentations (a smaller `views.crop_scale`).",
        _too_easy,
    ),
    Verdict(
        "healthy",
        "ok",
        "Healthy",
        "none of the above",
        "Nothing to do.",
        _healthy,
    ),
)
"""Verdicts from the most to the least severe; the first that applies is used."""

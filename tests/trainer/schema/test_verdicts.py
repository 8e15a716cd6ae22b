"""The table of verdicts on made-up histories, and on the runs that were once called healthy."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.schema.errors import DivergedError
from trainer.schema.verdicts import (
    AT_CHANCE,
    CLASSIFIER_SIGNAL,
    COLLAPSED_STD,
    COLLAPSING_STD,
    GAIN_MIN,
    VERDICTS,
    Judgement,
    judge,
    of_code,
)
from trainer.spec.signal_tables import SIGNALS

GOOD: dict[str, float] = {
    "epoch": 10.0,
    "loss": 4.0,
    "chance_loss": 8.318,
    "top1": 0.4,
    "embedding_std_ratio": 0.8,
    "key_encoder_distance_ratio": 0.05,
    "negatives_fill_ratio": 1.0,
    "queue_dataset_ratio": 0.25,
}
FILLS = {"negatives_fill_ratio": "queue", "memory_ratio": "memory"}
BASELINES = {"knn_top1_raw": 0.6, "knn_top1_untrained": 0.5, "knn_top1_majority": 0.1}


def verdict(
    *, share: float = 1.0, knn: dict[str, float] | None = None, **changes: float
) -> Judgement:
    lines: list[dict[str, float]] = [{"step": step, **GOOD, **changes} for step in range(30)]
    if knn is not None:
        lines.append({"step": 30, "epoch": changes.get("epoch", 10.0), **BASELINES, **knn})
    return judge(lines, share=share, fills=FILLS)


CASES: dict[str, tuple[str, dict[str, float], dict[str, float] | None, list[str]]] = {
    "nothing wrong": ("healthy", {}, None, ["4.000", "8.318", "0.80"]),
    "well above raw input": ("healthy", {}, {"knn_top1": 0.9}, ["90.0%", "60.0%", "50.0%"]),
    "below raw input": ("no_better_than_raw", {}, {"knn_top1": 0.55}, ["55.0%", "60.0%"]),
    "as raw input": ("no_better_than_raw", {}, {"knn_top1": 0.6}, ["60.0%"]),
    "hardly above raw input": ("gained_little", {}, {"knn_top1": 0.61}, ["61.0%", "60.0%"]),
    "below untrained": (
        "gained_little",
        {},
        {"knn_top1": 0.7, "knn_top1_untrained": 0.75},
        ["70.0%", "75.0%"],
    ),
    "std .036": ("collapsed", {"embedding_std_ratio": 0.036}, None, ["0.036"]),
    "std .036 and good figures": (
        "collapsed",
        {"embedding_std_ratio": 0.036},
        {"knn_top1": 0.9},
        ["0.036"],
    ),
    "std .15": ("collapsing", {"embedding_std_ratio": 0.15}, None, ["0.150"]),
    "loss 3.464 of ln 33": (
        "at_chance",
        {"loss": 3.464, "chance_loss": math.log(33), "top1": 0.05},
        None,
        ["3.464", "3.497"],
    ),
    "a hot temperature": ("healthy", {"loss": 8.2, "top1": 0.8}, None, ["8.200"]),
    "a weak loss": ("gained_little", {"loss": 7.8, "top1": 0.05}, None, ["7.800"]),
    "no finite loss": ("diverged", {"loss": math.nan}, None, ["finite"]),
    "worse than guessing": ("diverged", {"loss": 9.9}, None, ["9.900", "8.318"]),
    "lr 1000": (
        "diverged",
        {
            "loss": 5.1,
            "chance_loss": 5.549,
            "top1": 0.6,
            "embedding_std_ratio": 0.03,
            "key_encoder_distance_ratio": 1.0,
        },
        {"knn_top1": 0.106},
        ["100%", "0.030"],
    ),
    "momentum 0": (
        "collapsed",
        {"loss": 5.549, "chance_loss": 5.549, "top1": 0.02, "embedding_std_ratio": 0.028}
        | {"key_encoder_distance_ratio": 0.0},
        None,
        ["0.028"],
    ),
    "K 65,536 on 150 rows": (
        "collapsing",
        {
            "epoch": 60.0,
            "loss": 6.9,
            "chance_loss": 11.09,
            "top1": 0.0,
            "embedding_std_ratio": 0.12,
            "negatives_fill_ratio": 0.13,
            "queue_dataset_ratio": 437.0,
        },
        None,
        ["0.120"],
    ),
    "a queue that never filled": (
        "too_early",
        {"epoch": 60.0, "negatives_fill_ratio": 0.13, "queue_dataset_ratio": 437.0},
        None,
        ["13% of the queue", "60.0 epochs"],
    ),
    "what another method fills": ("too_early", {"memory_ratio": 0.5}, None, ["50% of the memory"]),
    "one epoch": ("too_early", {"epoch": 1.0}, None, ["1.0 epochs"]),
    "untrained networks point one way": (
        "too_early",
        {"epoch": 0.5, "embedding_std_ratio": 0.05, "loss": 8.3, "top1": 0.02},
        None,
        [],
    ),
    "too easy": ("too_easy", {"top1": 0.999}, None, ["99.9%"]),
    "easy, and it learns": ("healthy", {"top1": 0.999}, {"knn_top1": 0.9}, ["90.0%"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_history_gets_its_verdict_with_the_numbers_that_speak_for_it(case: str) -> None:
    code, changes, knn, numbers = CASES[case]
    found = verdict(knn=knn, **changes)
    assert found.verdict.code == code
    for number in numbers:
        assert number in found.evidence
    assert found.evidence.endswith(".")


def test_every_row_of_the_table_has_a_case_and_one_advice() -> None:
    assert {code for code, *_ in CASES.values()} == {row.code for row in VERDICTS}
    for row in VERDICTS:
        assert of_code(row.code) is row
        assert re.fullmatch(r"[A-Z].*\.", row.advice)
        assert row.kind in ("bad", "warn", "busy", "ok")
    words = {row.code: row.advice for row in VERDICTS}
    assert "tenth of `optim.lr`" in words["diverged"]
    assert all("half the `optim.lr`" in words[c] for c in ("collapsed", "at_chance", "collapsing"))


FINETUNE: dict[str, float] = {"epoch": 10.0, "chance_loss": math.log(4)}
FINETUNE |= {"train_accuracy_ratio": 0.3, "loss": 1.38}


def finetune(*, share: float, **changes: float) -> Judgement:
    lines: list[dict[str, float]] = [{**FINETUNE, **changes} for _ in range(30)]
    return judge(lines, share=share, fills=FILLS)


@pytest.mark.parametrize(
    ("share", "changes", "code"),
    [
        (0.05, {"epoch": 3.0}, "too_early"),
        (0.05, {"epoch": 3.0, "loss": 5.0}, "too_early"),
        (0.3, {}, "too_early"),
        (0.3, {"loss": 0.9}, "healthy"),
        (0.3, {"loss": 5.0}, "diverged"),
        (0.5, {}, "at_chance"),
        (1.0, {"loss": 1.3}, "gained_little"),
        (1.0, {"loss": 0.2, "train_accuracy_ratio": 1.0}, "healthy"),
        (0.01, {"loss": math.nan}, "diverged"),
    ],
)
def test_a_classifier_is_held_against_guessing_from_the_half_of_its_run(
    share: float, changes: dict[str, float], code: str
) -> None:
    """A head begins at the loss of guessing, and with few labels an epoch is a step or two."""
    assert finetune(share=share, **changes).verdict.code == code


def test_a_classifier_gets_no_advice_of_pretraining() -> None:
    stuck = finetune(share=1.0)
    assert "labels match the images" in stuck.advice
    assert "augmentations" not in stuck.advice
    assert "half" not in stuck.advice
    assert "queue" not in finetune(share=0.3).advice
    assert "38% of the steps completed. Loss 1.380" in finetune(share=0.375).evidence
    assert verdict(loss=8.3, top1=0.02).advice == of_code("at_chance").advice


def test_the_neighbors_of_a_classifier_are_not_judged() -> None:
    """Those of a frozen encoder never change, and labels are what its job is for."""
    lines: list[dict[str, float]] = [{**FINETUNE, "loss": 0.2}, {"epoch": 10.0, **BASELINES}]
    lines[-1]["knn_top1"] = 0.5
    assert judge(lines, share=1.0, fills=FILLS).verdict.code == "healthy"
    assert CLASSIFIER_SIGNAL in SIGNALS


def test_below_raw_pixels_is_said_from_the_half_of_the_run_on() -> None:
    """A long run begins below raw pixels: its first epochs are no reason for alarm."""
    early = verdict(share=0.3, knn={"knn_top1": 0.5})
    assert early.verdict.code == "too_early"
    assert "raw input 60.0%" in early.evidence
    assert verdict(share=0.5, knn={"knn_top1": 0.5}).verdict.code == "no_better_than_raw"


def test_the_authors_run_is_healthy_from_its_third_epoch_to_its_last() -> None:
    """CIFAR-10, K 4096, 200 epochs; raw pixels reach 33.9 % there with k 200."""
    trace = {1: (6.96, 32.0), 2: (7.25, 33.5), 3: (7.29, 34.7), 5: (6.86, 38.0), 10: (5.99, 48.0)}
    trace |= {20: (4.34, 61.4), 50: (3.20, 73.3), 100: (2.73, 78.1), 200: (2.27, 82.6)}
    codes = []
    for epoch, (loss, knn) in trace.items():
        told = {"knn_top1": knn / 100, "knn_top1_raw": 0.339, "knn_top1_untrained": 0.3}
        found = verdict(
            share=epoch / 200, knn=told, epoch=float(epoch), loss=loss, queue_dataset_ratio=0.08
        )
        codes.append(found.verdict.code)
    assert codes == ["too_early"] * 3 + ["healthy"] * 6


def test_the_newest_twenty_readings_are_averaged() -> None:
    """One batch alone says little, and what is long past says nothing."""
    lines = [{**GOOD, "embedding_std_ratio": 0.01} for _ in range(100)]
    lines += [{**GOOD, "embedding_std_ratio": 0.5} for _ in range(19)]
    lines += [{**GOOD, "embedding_std_ratio": 0.0}]
    assert judge(lines, share=1.0, fills=FILLS).verdict.code == "healthy"
    assert "0.47" in judge(lines, share=1.0, fills=FILLS).evidence


def test_a_spread_that_opens_again_is_not_collapsing() -> None:
    """BYOL on digits: .15 in epoch 2, .53 in epoch 12."""
    rising = [{**GOOD, "embedding_std_ratio": 0.12 + 0.004 * step} for step in range(20)]
    assert judge(rising, share=1.0, fills=FILLS).verdict.code == "healthy"
    for order in (rising[::-1], [*rising[::2], *rising[-2::-2]]):
        assert judge(order, share=1.0, fills=FILLS).verdict.code == "collapsing"
    low = [{**line, "embedding_std_ratio": line["embedding_std_ratio"] / 2} for line in rising]
    assert judge(low, share=1.0, fills=FILLS).verdict.code == "collapsed"


ROUNDING = 1e-9
"""A mean of equal readings may differ from them in its last bits."""


@example(std=0.19999999999999996, ratio=0.0, knn=None, share=0.0)
@given(
    std=st.floats(0.0, 1.0),
    ratio=st.floats(0.0, 1.2),
    knn=st.none() | st.floats(0.0, 1.0),
    share=st.floats(0.0, 1.0),
)
def test_no_reading_is_without_a_verdict_and_none_is_healthy_against_the_numbers(
    std: float, ratio: float, knn: float | None, share: float
) -> None:
    changes = {"embedding_std_ratio": std, "loss": ratio * 8.318, "top1": 0.1}
    found = verdict(share=share, knn=None if knn is None else {"knn_top1": knn}, **changes)
    if found.verdict.kind == "ok":
        assert std >= COLLAPSING_STD - ROUNDING
        assert ratio < AT_CHANCE + ROUNDING
        assert knn is None or knn >= 0.6 + GAIN_MIN - ROUNDING


def test_a_worse_spread_is_never_a_better_verdict() -> None:
    ranks = {row.code: number for number, row in enumerate(VERDICTS)}
    found = [
        ranks[verdict(embedding_std_ratio=std).verdict.code]
        for std in (0.0, COLLAPSED_STD - 1e-9, COLLAPSED_STD, COLLAPSING_STD - 1e-9, COLLAPSING_STD)
    ]
    assert all(worse <= better for worse, better in pairwise(found))
    assert len(set(found)) == 3


def test_a_failed_run_gives_the_advice_of_the_table() -> None:
    error = DivergedError("The loss is nan at step 7.", step=7)
    assert of_code("diverged").advice in error.next_step


def test_an_empty_history_is_too_early() -> None:
    assert judge([], share=0.0, fills=FILLS).verdict.code == "too_early"

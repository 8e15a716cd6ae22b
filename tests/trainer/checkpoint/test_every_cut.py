"""A run that is killed anywhere ends with the bits of an uninterrupted run.

Every process here is killed for real, by SIGKILL at a failpoint. A job is killed at one failpoint
of the checkpoint of step 1, goes on in a new attempt, is killed at that of step 2, and so on until
the last step: so each step boundary is a cut, and whatever one resume got wrong would still be
seen at the end. What each cut left is compared as well: every checkpoint of every attempt must
hold the same state as the uninterrupted run's checkpoint of that step.

The loader threads change from attempt to attempt.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from tests.support.trainer.killed_attempts import (
    STEPS,
    Attempt,
    Cuts,
    end,
    forkserver_of_cuts,
    mixed_pack,
    spec,
    states,
)

OPTIMIZERS = ("sgd", "adamw")
IN_CHAOS = pytest.mark.chaos
BEFORE_THE_RENAME = (
    pytest.param("copied", "sgd", marks=IN_CHAOS),
    pytest.param("copied", "adamw", marks=IN_CHAOS),
    ("mid_write", "sgd"),
    pytest.param("mid_write", "adamw", marks=IN_CHAOS),
    pytest.param("pre_fsync", "sgd", marks=IN_CHAOS),
    ("pre_fsync", "adamw"),
    pytest.param("pre_manifest", "sgd", marks=IN_CHAOS),
    ("pre_rename", "sgd"),
    pytest.param("pre_rename", "adamw", marks=IN_CHAOS),
)
AFTER_THE_RENAME = (
    ("post_rename", "sgd"),
    pytest.param("post_rename", "adamw", marks=IN_CHAOS),
    pytest.param("pre_prune", "sgd", marks=IN_CHAOS),
)
HITS = {"pre_fsync": 3}
"""Times that one checkpoint passes a failpoint, if not once: here, once for each of its files."""


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cuts]:
    with forkserver_of_cuts() as forkserver:
        yield Cuts(forkserver, mixed_pack(tmp_path_factory.mktemp("data") / "pack"))


@dataclass(frozen=True)
class Whole:
    """Results of an uninterrupted run."""

    out: Path
    states: dict[str, str]
    """sha256 of the state after each step."""


@pytest.fixture(scope="module")
def whole(cuts: Cuts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Whole]:
    """One run of each optimizer. The one that keeps all checkpoints is another: cards differ."""
    found = {}
    for name in OPTIMIZERS:
        folder = tmp_path_factory.mktemp(name)
        for out, keep in ((folder / "whole", 2), (folder / "all", STEPS)):
            attempt = cuts.attempt(job(name, keep_checkpoints=keep), out)
            assert attempt.of("ended")[0].outcome == "succeeded"
        found[name] = Whole(folder / "whole", states(folder / "all"))
        assert len(found[name].states) == STEPS
    return found


def job(optimizer: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # words of a spec
    return spec(optim={"name": optimizer}, checkpoint_every_steps=1, **changes)


def chain(
    cuts: Cuts, words: dict[str, Any], folder: Path, faults: Iterator[str | None]
) -> list[Attempt]:
    """Attempts, each with the next fault, until one comes to its end."""
    attempts: list[Attempt] = []
    for number, fault in enumerate(islice(faults, 2 * STEPS)):
        attempt = cuts.attempt(
            words,
            folder / str(number),
            failpoints=f"{fault}" if fault else "",
            checkpoints=[before.out / "checkpoints" for before in reversed(attempts[-2:])],
            loader_threads=2 * (number % 2),
        )
        attempts.append(attempt)
        if not attempt.was_killed:
            return attempts
    raise AssertionError("the faults came to an end before the run")


def check(attempts: list[Attempt], whole: Whole) -> None:
    """The same at the end, and at each checkpoint on the way there."""
    last = attempts[-1]
    assert (last.status, last.of("ended")[0].outcome) == (0, "succeeded")
    assert all(event.exact for attempt in attempts for event in attempt.of("started"))
    for attempt in attempts:
        held = states(attempt.out)
        assert held == {step: whole.states[step] for step in held}
        assert not list(attempt.out.glob("checkpoints/*.tmp")) or attempt.was_killed
    assert end(last.out) == end(whole.out)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_loader_threads_change_nothing(
    optimizer: str, cuts: Cuts, whole: dict[str, Whole], tmp_path: Path
) -> None:
    attempt = cuts.attempt(job(optimizer), tmp_path / "2", loader_threads=2)
    check([attempt], whole[optimizer])


@pytest.mark.parametrize(("name", "optimizer"), BEFORE_THE_RENAME)
def test_every_cut_before_a_checkpoint_is_visible(
    name: str, optimizer: str, cuts: Cuts, whole: dict[str, Whole], tmp_path: Path
) -> None:
    """One checkpoint gets through, the next does not: each attempt comes one step further."""
    first, later = (
        f"checkpoint.{name}=SIGKILL@1",
        f"checkpoint.{name}=SIGKILL@{HITS.get(name, 1) + 1}",
    )
    faults = (first if not number else later for number in count())
    attempts = chain(cuts, job(optimizer), tmp_path, faults)
    began = [attempt.of("started")[0].step for attempt in attempts]
    assert began == [0, *range(STEPS)]  # killed in the checkpoints of steps 1, 2, ... and the last
    check(attempts, whole[optimizer])


@pytest.mark.parametrize(("name", "optimizer"), AFTER_THE_RENAME)
def test_every_cut_after_a_checkpoint_is_visible(
    name: str, optimizer: str, cuts: Cuts, whole: dict[str, Whole], tmp_path: Path
) -> None:
    """No event named these checkpoints; the next attempt finds them anyway."""
    faults = iter([*[f"checkpoint.{name}=SIGKILL"] * STEPS, None])
    attempts = chain(cuts, job(optimizer), tmp_path, faults)
    assert [attempt.of("started")[0].step for attempt in attempts] == [*range(STEPS + 1)]
    check(attempts, whole[optimizer])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("train.step", marks=IN_CHAOS),
        pytest.param("train.backward", marks=IN_CHAOS),
        "train.stepped",
    ],
)
def test_cuts_within_steps(name: str, cuts: Cuts, whole: dict[str, Whole], tmp_path: Path) -> None:
    """The first step, the second, then every third after a resume, and the very last one."""
    faults = iter([f"{name}=SIGKILL@{nth}" for nth in (1, 2, *[3] * STEPS)])
    attempts = chain(cuts, job("adamw"), tmp_path / "chain", faults)
    assert len(attempts) >= 2 + STEPS // 3
    check(attempts, whole["adamw"])
    only = [f"{name}=SIGKILL@{STEPS}", None]
    attempts = chain(cuts, job("sgd"), tmp_path / "last", iter(only))
    assert [attempt.was_killed for attempt in attempts] == [True, False]
    check(attempts, whole["sgd"])


def test_cuts_after_each_evaluation(cuts: Cuts, whole: dict[str, Whole], tmp_path: Path) -> None:
    """The evaluations of epochs 2 and 4 and of the end are measured but not written down."""
    faults = iter([*(f"evaluation.done=SIGKILL@{nth}" for nth in (1, 2, 2)), None])
    attempts = chain(cuts, job("sgd"), tmp_path, faults)
    assert [attempt.was_killed for attempt in attempts] == [True, True, True, False]
    check(attempts, whole["sgd"])


def test_cuts_in_the_publication(cuts: Cuts, whole: dict[str, Whole], tmp_path: Path) -> None:
    """Kill between any two files, around the rename, and before the result is written."""
    faults = [f"publish.mid_write=SIGKILL@{nth}" for nth in range(1, 7)]
    faults += ["publish.pre_rename=SIGKILL", "publish.post_rename=SIGKILL"]
    faults += ["result.pre_write=SIGKILL", "checkpoint.loaded=SIGKILL"]
    attempts = chain(cuts, job("adamw"), tmp_path, iter([*faults, None]))
    assert sum(attempt.was_killed for attempt in attempts) == len(faults)
    check(attempts, whole["adamw"])

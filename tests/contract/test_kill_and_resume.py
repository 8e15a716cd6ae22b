"""Every method, with each family of encoders and precision, has the same bits after a kill.

Each process is killed by SIGKILL at a failpoint; the next one resumes from its files. The encoder,
every other artifact, each checkpoint and all signals must equal those of an uninterrupted run.
`make test` runs one cell for each method, `make contract` each method with each encoder, precision
and kill.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from _pytest.mark import ParameterSet

from tests.support.trainer.killed_attempts import (
    Attempt,
    Cuts,
    End,
    end,
    forkserver_of_cuts,
    mixed_pack,
    spec,
    states,
)
from tests.support.trainer.spec_members import (
    AUGMENTATIONS,
    learning_from,
    methods,
    optimizers,
    precisions,
    smallest_encoders,
)
from trainer.modalities.image.spec import ENCODER_NAMES, FAMILIES
from trainer.pretexts.registry import pretext_names
from trainer.util.atomic_files import sha256_of

EPOCHS, STEPS, CHECKPOINT_EVERY_STEPS = 4, 12, 4
"""Checkpoints are those of steps 4, 8 and 12; an epoch has 3 steps."""
SIDE_PX = 32
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"optim": {"name": name}} for name in optimizers()},
    "all at once": {
        "optim": {
            "name": "lars",
            "lr": 0.5,
            "norm": "sum",
            "clip": True,
            "clip_norm": 0.5,
            "accumulate_steps": 2,
        },
        "partial_batch": "drop",
        "epochs": EPOCHS + 2,
    },
    "every augmentation": {"views": AUGMENTATIONS},
}
"""Settings of jobs: each optimizer by its name, and what else has a state or random numbers."""
ENCODERS: dict[str, dict[str, Any]] = {"vit_tiny": {"patch_px": 8}}
"""Settings of an encoder for tiny jobs."""
FURTHER: dict[str, dict[str, Any]] = {
    "labels": {
        "method": {"name": "triplet", "dim": 8},
        "positives": {"name": "label"},
        "batching": {"rows_per_label": 2},
        "optim": {"accumulate_steps": 2},
        "partial_batch": "drop",
        "epochs": EPOCHS + 2,
    },
    "three views": {
        "method": {"name": "byol", "dim": 8, "head_hidden": 16},
        "views": {"side_px": SIDE_PX, "count": 3},
        "epochs": EPOCHS,
    },
    "pretexts": {
        "auxiliary": [{"name": name} for name in pretext_names()],
        "optim": {"accumulate_steps": 2},
        "partial_batch": "drop",
        "epochs": EPOCHS + 2,
    },
    "finetune": {
        "kind": "finetune",
        "method": {
            "head": "mlp",
            "freeze": 2,
            "class_weights": "balanced",
            "label_smoothing": 0.1,
            "labels_per_class": 4,
        },
        "optim": {"name": "adamw"},
        "partial_batch": "drop",
        "batch_rows": 4,
        "epochs": EPOCHS + 2,
    },
    "early_stop": {
        "epochs": EPOCHS + 2,
        "evaluation": {"every_epochs": 1},
        "best_by": "knn_top1",
        "early_stop": {"signal": "knn_top1", "patience_epochs": EPOCHS - 1, "min_delta": 1.0},
    },
}
"""Settings beside method, encoder and optimizer. No accuracy gets better by more than 1."""
QUICK = ("small", "fp32", "after_update")
"""Cell of each method in `make test`."""
QUICK_JOBS = (("moco", "vit_tiny", "fp32", "in_checkpoint"),)
"""Further ones."""

KILLS = {
    "before_step": ("train.step=SIGKILL@10", 4),
    "before_update": ("train.backward=SIGKILL@10", 4),
    "after_update": ("train.stepped=SIGKILL@10", 4),
    "after_evaluation": ("evaluation.done=SIGKILL@3", 4),
    "in_checkpoint": ("checkpoint.mid_write=SIGKILL@2", 4),
    "before_rename": ("checkpoint.pre_rename=SIGKILL@2", 4),
    "after_rename": ("checkpoint.post_rename=SIGKILL@2", 8),
    "in_export": ("publish.mid_write=SIGKILL@2", 12),
}
"""Failpoint, and the earliest step from which the next process must resume.

A checkpoint is written while training continues, but the previous one is complete by then.
"""


class Job(NamedTuple):
    """One row of the matrix."""

    method: str
    encoder: str
    precision: str
    settings: str = "sgd"

    def words(self) -> dict[str, Any]:
        settings = {"epochs": EPOCHS} | SETTINGS[self.settings]
        views = {"side_px": SIDE_PX} | settings.get("views", {})
        return spec(
            **learning_from(self.method),
            encoder={"name": self.encoder, **ENCODERS.get(self.encoder, {})},
            precision=self.precision,
            **settings | {"views": views},
            checkpoint_every_steps=CHECKPOINT_EVERY_STEPS,
            keep_checkpoints=STEPS,
        )


@dataclass(frozen=True)
class Whole:
    """Results of an uninterrupted run."""

    end: End
    states: dict[str, str]
    """sha256 of the state in each checkpoint."""


class WholeRuns:
    """Uninterrupted runs, each made once."""

    def __init__(self, cuts: Cuts, folder: Path) -> None:
        self._cuts, self._folder = cuts, folder
        self._known: dict[Job, Whole] = {}

    def of(self, job: Job) -> Whole:
        if job not in self._known:
            out = self._folder / "-".join(job)
            check_ended(self._cuts.attempt(job.words(), out))
            self._known[job] = Whole(end(out), states(out))
            shutil.rmtree(out)
        return self._known[job]


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cuts]:
    with forkserver_of_cuts() as forkserver:
        yield Cuts(forkserver, mixed_pack(tmp_path_factory.mktemp("data") / "pack"))


@pytest.fixture(scope="module")
def whole_runs(cuts: Cuts, tmp_path_factory: pytest.TempPathFactory) -> WholeRuns:
    return WholeRuns(cuts, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Emptied at once: the checkpoints of a large encoder take a gigabyte."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def check_ended(attempt: Attempt) -> None:
    assert (attempt.status, attempt.of("ended")[0].outcome) == (0, "succeeded")


def chosen(method: str, encoder: str, precision: str) -> Iterator[str]:
    """Yield the kills of a job: all of them for `small`, one in turn for larger encoders.

    So each method meets each kill, each encoder and each precision.
    """
    names = [*KILLS]
    if encoder == QUICK[0] and precision == QUICK[1]:
        yield from names
        return
    turn = (
        [*methods()].index(method)
        + 3 * smallest_encoders().index(encoder)
        + 2 * precisions().index(precision)
    )
    yield names[turn % len(names)]


def cells() -> Iterator[ParameterSet]:
    for job in (Job(*each) for each in product(methods(), smallest_encoders(), precisions())):
        for kill in chosen(*job[:3]):
            cell = (job.encoder, job.precision, kill)
            is_quick = cell == QUICK or (job.method, *cell) in QUICK_JOBS
            yield pytest.param(
                job,
                kill,
                id="-".join((job.method, *cell)),
                marks=() if is_quick else pytest.mark.contract,
            )
    for settings, encoder in product(SETTINGS, (QUICK[0], "vit_tiny")):
        is_quick = (settings, encoder) == ("all at once", QUICK[0])
        yield pytest.param(
            Job("moco", encoder, QUICK[1], settings),
            QUICK[2],
            id=f"moco-{encoder}-{settings}",
            marks=() if is_quick else pytest.mark.contract,
        )


@pytest.mark.timeout(1200)  # a ResNet-50 on busy cores takes minutes
@pytest.mark.parametrize(("job", "kill"), [*cells()])
def test_a_killed_run_ends_in_the_same_bits(
    job: Job, kill: str, cuts: Cuts, whole_runs: WholeRuns, folder: Path
) -> None:
    whole = whole_runs.of(job)
    failpoint, earliest_step = KILLS[kill]
    killed = cuts.attempt(job.words(), folder / "killed", failpoints=failpoint)
    assert killed.was_killed
    left = [killed.out / "checkpoints"]
    resumed = cuts.attempt(job.words(), folder / "resumed", checkpoints=left, loader_threads=2)
    check_ended(resumed)
    (started,) = resumed.of("started")
    assert started.step >= earliest_step
    assert started.exact
    for attempt in (killed, resumed):
        held = states(attempt.out)
        assert held == {step: whole.states[step] for step in held}
    assert end(resumed.out) == whole.end


@pytest.mark.contract
@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("name", FURTHER)
def test_a_killed_run_with_further_settings_ends_in_the_same_bits(
    name: str, kill: str, cuts: Cuts, folder: Path
) -> None:
    words = Job("moco", "small", "fp32").words() | FURTHER[name]
    whole = cuts.attempt(words, folder / "whole")
    check_ended(whole)
    killed = cuts.attempt(words, folder / "killed", failpoints=KILLS[kill][0])
    assert killed.was_killed
    left = [killed.out / "checkpoints"]
    resumed = cuts.attempt(words, folder / "resumed", checkpoints=left)
    check_ended(resumed)
    assert resumed.of("started")[0].exact
    assert end(resumed.out) == end(whole.out)
    assert max(states(whole.out)) == f"{STEPS:09d}"


def test_a_killed_run_that_began_with_weights_ends_in_the_same_bits(
    cuts: Cuts, whole_runs: WholeRuns, folder: Path
) -> None:
    """The weights are those of a job of another method; the whole run is not the random one."""
    donor, words = Job("simclr", "small", "fp32"), Job("moco", "small", "fp32").words()
    init = folder / "encoder.safetensors"
    check_ended(cuts.attempt(donor.words(), folder / "donor"))
    shutil.copyfile(folder / "donor" / "artifacts" / init.name, init)
    words |= {"init_from": {"weights": "donor", "sha256": sha256_of(init)}}
    whole = cuts.attempt(words, folder / "whole", init=init)
    check_ended(whole)
    killed = cuts.attempt(words, folder / "killed", init=init, failpoints=KILLS["before_step"][0])
    assert killed.was_killed
    left = [killed.out / "checkpoints"]
    resumed = cuts.attempt(words, folder / "resumed", init=init, checkpoints=left)
    check_ended(resumed)
    assert resumed.of("started")[0].exact
    assert end(resumed.out) == end(whole.out)
    assert end(whole.out) != whole_runs.of(Job("moco", "small", "fp32")).end


def test_the_matrix_holds_every_member_of_the_spec() -> None:
    assert {
        "moco",
        "small",
        "resnet18",
        "resnet50",
        "convnext_tiny",
        "vit_tiny",
        "fp32",
        "bf16",
    } <= {
        *methods(),
        *smallest_encoders(),
        *precisions(),
    }


def test_every_encoder_is_of_one_family() -> None:
    names = [name for family in FAMILIES.values() for name in family]
    assert sorted(names) == sorted(ENCODER_NAMES)

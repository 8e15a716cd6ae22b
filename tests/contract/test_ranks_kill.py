"""Several ranks end in the same bits: run twice, and after a kill of any rank anywhere."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.killed_attempts import End, end
from tests.support.trainer.rank_bodies import train
from tests.support.trainer.rank_processes import run_ranks
from trainer.util.failpoints import SETTING

ROWS, BATCH_ROWS, EPOCHS = 48, 16, 4
"""Three steps an epoch, 12 in all; checkpoints after steps 4, 8 and 12."""
SPLIT: dict[str, Any] = {"bn": "split", "bn_splits": 8}
MOCO_V2: dict[str, Any] = {"name": "moco", "head": "mlp", "queue_rows": 25, **SPLIT}
JOBS: dict[str, dict[str, Any]] = {
    "moco_v1": {"method": {"name": "moco", "head": "linear", "queue_rows": 25, **SPLIT}},
    "moco_v2": {"method": MOCO_V2},
    "moco_symmetric": {"method": MOCO_V2 | {"symmetric": True}},
    "simclr_split": {"method": {"name": "simclr", "bn": "split", "bn_splits": 4}},
    "simclr_sync": {"method": {"name": "simclr", "bn": "sync"}},
    "early_stop": {
        "method": MOCO_V2,
        "epochs": EPOCHS + 2,
        "evaluation": {"every_epochs": 1},
        "best_by": "knn_top1",
        "early_stop": {"signal": "knn_top1", "patience_epochs": EPOCHS - 1, "min_delta": 1.0},
    },
}
"""Settings of a job by its name. No accuracy gets better by more than 1, so the last one ends after
as many epochs as the others have."""
SIZES = {"early_stop": (2,)}
"""Numbers of ranks where they are not 2 and 4."""
ON_ANY_RANK = ("train.step=SIGKILL@6", "train.backward=SIGKILL@7", "train.stepped=SIGKILL@10")
ON_THE_FIRST = (
    "evaluation.done=SIGKILL@3",
    "checkpoint.copied=SIGKILL@2",
    "checkpoint.mid_write=SIGKILL@2",
    "checkpoint.pre_fsync=SIGKILL@4",
    "checkpoint.pre_manifest=SIGKILL@2",
    "checkpoint.pre_rename=SIGKILL@2",
    "checkpoint.post_rename=SIGKILL@2",
    "checkpoint.pre_prune=SIGKILL@2",
    "publish.mid_write=SIGKILL@2",
    "publish.pre_rename=SIGKILL",
    "publish.post_rename=SIGKILL",
    "result.pre_write=SIGKILL",
)
"""Files are written by rank 0 alone."""
SIGKILLED = -9


@dataclass(frozen=True)
class Jobs:
    """Jobs of this module, in one folder."""

    folder: Path

    def spec(self, job: str, size: int) -> Path:
        """Write the spec of a job and return its path."""
        words = {
            "dataset": str(self.folder / "pack"),
            "epochs": EPOCHS,
            "batch_rows": BATCH_ROWS,
            "precision": "fp32",
            "resources": {"gpus": size},
            "encoder": {"name": "small"},
            "views": {"side_px": 8},
            "signals_every_steps": 2,
            "checkpoint_every_steps": 4,
            "checkpoint_every_s": 86_400.0,
            "keep_checkpoints": 12,
            "evaluation": {"every_epochs": 2},
            **JOBS[job],
        }
        words["method"] = JOBS[job]["method"] | {"dim": 8}
        path = self.folder / f"{job}-{size}.json"
        path.write_text(json.dumps(words))
        return path

    def whole(self, job: str, size: int) -> End:
        """Return the results of an undisturbed run, made once."""
        out = self.folder / f"whole-{job}-{size}"
        if not out.exists():
            assert run_ranks(train, self.spec(job, size), out, size=size) == [0] * size
        return end(out)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    folder = tmp_path_factory.mktemp("ranks")
    images, labels = blobs(ROWS, side_px=10, classes=2)
    write_pack(folder / "pack", images, labels, classes=("a", "b"))
    return Jobs(folder)


def cells() -> list[ParameterSet]:
    quick = ("moco_v2", 2, 1, "train.backward=SIGKILL@7")
    return [
        pytest.param(
            *(job, size, rank, fault),
            id=f"{job}-{size}-rank{rank}-{fault.partition('=')[0]}",
            marks=() if (job, size, rank, fault) == quick else pytest.mark.contract,
        )
        for job in JOBS
        for size in SIZES.get(job, (2, 4))
        for rank in range(size)
        for fault in (*ON_ANY_RANK, *(ON_THE_FIRST if rank == 0 else ()))
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("job", "size", "rank", "fault"), cells())
def test_a_killed_rank_ends_all_and_the_next_attempt_has_the_same_bits(
    job: str, size: int, rank: int, fault: str, jobs: Jobs, tmp_path: Path
) -> None:
    whole = jobs.whole(job, size)
    spec = jobs.spec(job, size)
    codes = run_ranks(train, spec, tmp_path, size=size, environment={rank: {SETTING: fault}})
    assert codes[rank] == SIGKILLED
    # Once all is published, the others have nothing left to wait for.
    assert fault.startswith("result.") or 0 not in codes
    assert run_ranks(train, spec, tmp_path, size=size) == [0] * size
    assert end(tmp_path) == whole
    assert newest_differs(tmp_path) == []


@pytest.mark.contract
@pytest.mark.timeout(600)
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("job", JOBS)
def test_two_runs_of_one_world_have_the_same_bits(
    job: str, size: int, jobs: Jobs, tmp_path: Path
) -> None:
    whole = jobs.whole(job, size)
    assert run_ranks(train, jobs.spec(job, size), tmp_path, size=size) == [0] * size
    assert end(tmp_path) == whole


@pytest.mark.contract
@pytest.mark.timeout(600)
def test_ranks_end_early_and_keep_the_best_checkpoint(jobs: Jobs) -> None:
    jobs.whole("early_stop", 2)
    out = jobs.folder / "whole-early_stop-2"
    steps_per_epoch = ROWS // BATCH_ROWS
    names = sorted(int(path.name) for path in (out / "checkpoints").iterdir())
    assert names[-1] == EPOCHS * steps_per_epoch
    readme = (out / "artifacts/README.md").read_text()
    assert "The job ended early: knn_top1 has not improved by more than 1 for 3 epochs" in readme
    assert "The best knn_top1 was" in readme


def test_every_rank_is_needed_and_the_count_is_told(jobs: Jobs, tmp_path: Path) -> None:
    assert run_ranks(train, jobs.spec("moco_v1", 4), tmp_path, size=2) == [1, 1]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["code"], result["outcome"]) == ("bad_spec", "failed")
    assert "resources.gpus" in result["message"]
    assert "--nproc-per-node 4" in result["message"]


def test_a_checkpoint_of_one_process_goes_on_with_the_world_told(
    jobs: Jobs, tmp_path: Path
) -> None:
    first = tmp_path / "out"
    spec = json.loads(jobs.spec("moco_v2", 2).read_text())
    spec["method"]["shuffle_parts"] = 2
    for size, failpoints, codes in ((1, "train.step=SIGKILL@10", [SIGKILLED]), (2, "", [0, 0])):
        path = tmp_path / f"{size}.json"
        path.write_text(json.dumps(spec | {"resources": {"gpus": size}}))
        environment = {0: {SETTING: failpoints}} if failpoints else {}
        assert run_ranks(train, path, first, size=size, environment=environment) == codes
    assert newest_differs(first) == ["world"]


def newest_differs(out: Path) -> list[str]:
    newest = max((out / "checkpoints").iterdir())
    differs: list[str] = json.loads((newest / "meta.json").read_text())["differs"]
    return differs

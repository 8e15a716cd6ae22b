"""Two ranks over gloo, each of which checks what it gets; and one process, which is a world too."""

import json
from pathlib import Path

import torch

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.rank_bodies import train
from tests.support.trainer.rank_checks import check_collectives, diverge
from tests.support.trainer.rank_processes import run_ranks
from trainer.checkpoint.fingerprint import differing
from trainer.distributed.world import ALONE
from trainer.util.failpoints import SETTING

STOPPED = 101


def job(folder: Path) -> Path:
    """Write a pack and a job for two ranks: 24 steps, a checkpoint at the end or when stopped."""
    images, labels = blobs(48, side_px=10, classes=2)
    write_pack(folder / "pack", images, labels, classes=("a", "b"))
    spec = {
        "dataset": str(folder / "pack"),
        "epochs": 8,
        "batch_rows": 16,
        "precision": "fp32",
        "resources": {"gpus": 2},
        "encoder": {"name": "small"},
        "views": {"side_px": 8},
        "method": {"queue_rows": 25, "dim": 8, "bn_splits": 4},
        "signals_every_steps": 1,
        "checkpoint_every_s": 86_400.0,
        "evaluation": {"every_epochs": 100},
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def test_collectives_give_what_one_process_has() -> None:
    assert run_ranks(check_collectives, size=2) == [0, 0]


def test_unlike_ranks_are_found_and_nothing_of_them_is_kept(tmp_path: Path) -> None:
    assert run_ranks(diverge, job(tmp_path), tmp_path / "out", size=2) == [0, 0]
    assert not [*tmp_path.glob("out/checkpoints/*")]


def test_a_stop_of_the_first_rank_stops_all_after_the_same_step(tmp_path: Path) -> None:
    spec, out = job(tmp_path), tmp_path / "out"
    stop = {0: {SETTING: "train.step=SIGTERM@5"}}
    assert run_ranks(train, spec, out, size=2, environment=stop) == [STOPPED, STOPPED]
    result = json.loads((out / "result.json").read_text())
    assert (result["outcome"], result["step"]) == ("stopped", 5)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["000000005"]


def test_the_first_readings_are_those_of_one_process(tmp_path: Path) -> None:
    spec = job(tmp_path)
    assert run_ranks(train, spec, tmp_path / "two", size=2) == [0, 0]
    words = json.loads(spec.read_text())
    words["resources"]["gpus"] = 1
    words["method"]["shuffle_parts"] = 2
    spec.write_text(json.dumps(words))
    assert run_ranks(train, spec, tmp_path / "one", size=1) == [0]
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in one] == [line["step"] for line in two]
    timed = {"rows_per_s", "data_s", "step_s", "eval_s", "checkpoint_s", "memory_bytes"}
    assert "knn_top1_untrained" in one[0]
    for before, after in zip(one[:3], two[:3], strict=True):
        assert before.keys() == after.keys()
        for name in before.keys() - timed:
            assert abs(before[name] - after[name]) <= 1e-4 * max(1.0, abs(before[name])), name


def test_one_process_gets_back_what_it_gives() -> None:
    tensors = (torch.ones(2), torch.zeros(3, requires_grad=True))
    assert all(a is b for a, b in zip(ALONE.gather(tensors), tensors, strict=True))
    assert ALONE.part(tensors[0]) is tensors[0]
    assert ALONE.agreed(lambda: True)
    assert ALONE.requests(lambda: False, lambda: True).asked(1)


def test_a_checkpoint_from_before_there_were_ranks_is_that_of_one() -> None:
    assert differing({"code": "a"}, {"code": "a"} | ALONE.causes()) == ()
    assert differing({"code": "a"}, {"code": "a", "world": "2"}) == ("world",)
    assert differing({"code": "a", "world": "2"}, {"code": "a", "world": "4"}) == ("world",)

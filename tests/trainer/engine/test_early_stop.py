"""A run with `best_by` and `early_stop`: killed or not, it keeps and ends the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.evaluators.base import Measured
from trainer.evaluators.knn.evaluator import Knn
from trainer.inference.embedder import load_encoder
from trainer.schema.events import Ended
from trainer.spec.job import JobSpec

VALUES = [0.5, 0.75, 0.625, 0.5, 0.25, 0.125]
"""Accuracy after each epoch; the best is that of the second."""
SPEC = {
    "dataset": "x",
    "epochs": 6,
    "batch_rows": 16,
    "encoder": {"name": "small"},
    "method": {"queue_rows": 8, "dim": 8},
    "keep_checkpoints": 2,
    "checkpoint_every_steps": 1,
    "best_by": "knn_top1",
    "evaluation": {"baselines": False},
}
STEPS = ("started", "stepped")
EARLY = {"signal": "knn_top1", "patience_epochs": 3}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    images, labels = blobs(32, side_px=8, classes=2)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    return tmp_path / "pack"


def go(
    pack: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stop_at: int | None = None,
    checkpoints: tuple[Path, ...] = (),
    **words: Any,  # noqa: ANN401  # fields of a spec
) -> tuple[Ended, list[Any]]:
    """Train with the accuracies of VALUES; an epoch has two steps."""
    events: list[Any] = []

    def step() -> int:
        return int(next(event.step for event in reversed(events) if event.type in STEPS))

    def measure(_knn: Knn, _bank: object) -> Measured:
        return Measured({"knn_top1": VALUES[step() // 2 - 1]})

    def should_stop() -> bool:
        return step() == stop_at

    monkeypatch.setattr(Knn, "measure", measure)
    spec = JobSpec.model_validate_json(json.dumps(SPEC | {"signals_every_steps": 1} | words))
    config = DeviceConfig(device="cpu", threads=1)
    paths = RunPaths(out=out, pack=pack, checkpoints=checkpoints)
    ended = train(spec, paths, device_config=config, emit=events.append, should_stop=should_stop)
    return ended, events


def kept(out: Path) -> list[int]:
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir())


def sums(out: Path) -> str:
    return (out / "artifacts/SHA256SUMS").read_text()


def test_the_best_checkpoint_is_kept_beside_the_newest(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, events = go(pack, tmp_path / "out", monkeypatch)
    assert kept(tmp_path / "out") == [4, 11, 12]
    best = [event.best for event in events if event.type == "evaluated"]
    assert [(each.step, each.value) for each in best] == [(2, 0.5), *[(4, 0.75)] * 5]
    card = (tmp_path / "out/artifacts/README.md").read_text()
    assert (
        "The best knn_top1 was 0.75 at step 4; the folder `best` has the encoder of that step"
    ) in card
    assert "| `best/encoder.safetensors` | the weights of step 4, which has the best" in card


def encoder_at(checkpoint: Path) -> dict[str, torch.Tensor]:
    prefix = "method.query.encoder."
    state = load_file(checkpoint / "state.safetensors")
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def test_the_best_encoder_is_published_though_an_earlier_attempt_wrote_it(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 4, also for an attempt that resumes from that checkpoint, or from a later one."""
    go(pack, tmp_path / "whole", monkeypatch)
    artifacts = tmp_path / "whole" / "artifacts"
    best = load_file(artifacts / "best" / "encoder.safetensors")
    expected = encoder_at(tmp_path / "whole" / "checkpoints" / "000000004")
    last = load_file(artifacts / "encoder.safetensors")
    assert best.keys() == expected.keys() == last.keys()
    assert all(torch.equal(best[name], expected[name]) for name in best)
    assert not torch.equal(best["conv1.weight"], last["conv1.weight"])
    assert load_encoder(artifacts / "best").network(torch.zeros(1, 3, 16, 16)).shape == (1, 256)
    for step in (4, 7):
        first = tmp_path / f"first-{step}"
        go(pack, first, monkeypatch, stop_at=step)
        newest = first / "checkpoints" / f"{step:09d}"
        go(pack, tmp_path / f"second-{step}", monkeypatch, checkpoints=(newest,))
        assert sums(tmp_path / f"second-{step}") == sums(tmp_path / "whole")


def test_a_best_checkpoint_that_is_damaged_is_left_out(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    go(pack, out, monkeypatch, stop_at=7)
    state = out / "checkpoints" / "000000004" / "state.safetensors"
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    go(pack, out, monkeypatch)
    assert not (out / "artifacts" / "best").exists()
    card = (out / "artifacts" / "README.md").read_text()
    assert "0.75 at step 4; these files are those of the last step" in card


def test_a_run_without_steps_for_it_saves_the_best_at_once(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(pack, tmp_path / "out", monkeypatch, checkpoint_every_steps=None)
    assert kept(tmp_path / "out") == [4, 12]


def test_an_early_end_is_exact_after_a_stop(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the fourth epoch, whose evaluation is not yet made: it waits from the second."""
    ended, events = go(pack, tmp_path / "whole", monkeypatch, early_stop=EARLY)
    assert (ended.outcome, ended.step) == ("succeeded", 10)
    reason = "knn_top1 has not improved for 3 epochs: it was 0.75 after epoch 2 and is 0.25."
    assert [event.ends_early for event in events if event.type == "evaluated"][-2:] == ["", reason]
    assert f"The job ended early: {reason}" in (tmp_path / "whole/artifacts/README.md").read_text()
    out = tmp_path / "cut"
    ended, _ = go(pack, out, monkeypatch, stop_at=7, early_stop=EARLY)
    assert (ended.outcome, ended.step) == ("stopped", 7)
    ended, events = go(pack, out, monkeypatch, early_stop=EARLY)
    assert (ended.outcome, ended.step) == ("succeeded", 10)
    assert events[0].best.step == 4
    assert sums(out) == sums(tmp_path / "whole")
    assert 4 in kept(out)
    ended, events = go(pack, out, monkeypatch, early_stop=EARLY)  # once more: nothing is trained
    assert [event for event in events if event.type == "stepped"] == []
    assert sums(out) == sums(tmp_path / "whole")

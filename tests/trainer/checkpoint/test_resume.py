"""A run that was cut anywhere ends as one that never was: the same bits in every file."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.checkpoint import checkpoint_files as checkpoints
from trainer.checkpoint import manager
from trainer.checkpoint.background_writer import BackgroundWriter
from trainer.checkpoint.checkpoint_files import load_newest
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.evaluators.knn import spec as knn
from trainer.methods.moco import spec as moco
from trainer.modalities.image.augment import compiled
from trainer.schema.errors import DivergedError, SpecError
from trainer.schema.events import Ended, Event
from trainer.schema.signals import COMMON_SIGNALS
from trainer.spec.job import JobSpec

ROWS, BATCH, EPOCHS = 44, 8, 2
STEPS = EPOCHS * 6  # the last batch of an epoch has 4 rows
BASELINE_POLLS = 6
"""Polls of `should_stop` while a run measures its baselines."""


def job(**changes: Any) -> JobSpec:  # noqa: ANN401  # words of a spec, as JSON has them
    method = {"queue_rows": 25, "dim": 16, **changes.pop("method", {})}
    words = {
        "dataset": "made-up",
        "epochs": EPOCHS,
        "batch_rows": BATCH,
        "partial_batch": "keep",
        "encoder": {"name": "small"},
        "method": method,
        "signals_every_steps": 2,
        "keep_checkpoints": 2,
        **changes,
    }
    return JobSpec.model_validate_json(json.dumps(words))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pack"
    images, labels = blobs(ROWS, side_px=12, classes=3)
    write_pack(folder, images, labels, classes=("a", "b", "c"))
    return folder


class Watcher:
    """Collects events, and says stop after a step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list[Event] = []
        self.stop_after = stop_after
        self.polls = 0

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def should_stop(self) -> bool:
        self.polls += 1
        return self.stop_after is not None and self.polls > self.stop_after

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    def sums(self) -> dict[str, str]:
        return {file.name: file.sha256 for file in self.of("published")[-1].files}


def go(spec: JobSpec, paths: RunPaths, *, stop_after: int | None = None) -> tuple[Ended, Watcher]:
    watcher = Watcher(stop_after)
    device_config = DeviceConfig(device="cpu", threads=1)
    ended = train(
        spec, paths, device_config=device_config, emit=watcher.emit, should_stop=watcher.should_stop
    )
    return ended, watcher


def state_of(out: Path) -> dict[str, Any]:
    folder = max((out / "checkpoints").iterdir())
    loaded: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return loaded


CASES: dict[str, dict[str, Any]] = {
    "sgd-bf16-mlp": {"precision": "bf16"},
    "adamw-symmetric-fp32": {
        "optim": {"name": "adamw"},
        "method": {"symmetric": True},
        "precision": "fp32",
    },
    "compiled": {"precision": "bf16"},
    "empty-linear-plain": {
        "method": {"negatives_start": "empty", "head": "linear", "bn": "plain"},
        "schedule": {"name": "cosine", "per": "step", "warmup_epochs": 0.5},
        "precision": "bf16",
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_chain_of_cuts_ends_in_the_same_bits(
    case: str, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut during the baselines, after step 1, in the middle, and one step before the end.

    The queue wraps every third step. Each attempt has a folder of its own, as under the service,
    and starts with another state of the global generator.
    """
    if case == "compiled":
        monkeypatch.setattr(compiled, "PIXELS_MIN", 0)  # as in a long job
    spec = job(**CASES[case])
    ended, whole = go(spec, RunPaths(out=tmp_path / "whole", pack=pack))
    assert (ended.outcome, ended.step) == ("succeeded", STEPS)

    attempts: list[Path] = []
    for number, steps in enumerate((3, BASELINE_POLLS + 1, 3, 2, 5, None)):
        out = tmp_path / f"{number}"
        latest = tuple(max((a / "checkpoints").iterdir()) for a in reversed(attempts))
        torch.manual_seed(number)
        ended, cut = go(spec, RunPaths(out=out, pack=pack, checkpoints=latest), stop_after=steps)
        attempts.append(out)
        assert cut.of("started")[0].exact
    assert ended.outcome == "succeeded"
    assert cut.sums() == whole.sums()
    assert state_of(out)["files"][-1] == state_of(tmp_path / "whole")["files"][-1]
    assert _signals(out) == _signals(tmp_path / "whole")


def _signals(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    draw_key = {"rows_per_s", "data_s", "step_s", "eval_s", "checkpoint_s", "memory_bytes"}
    return [{name: v for name, v in line.items() if name not in draw_key} for line in lines]


def test_training_leaves_the_global_generator_alone(pack: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    threads, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    go(job(epochs=1), RunPaths(out=tmp_path, pack=pack), stop_after=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == exact


def test_another_thread_count_goes_on_but_is_stamped(pack: Path, tmp_path: Path) -> None:
    """Sums depend on the threads, so the end may differ: said once, and kept from then on."""
    paths, spec = RunPaths(out=tmp_path, pack=pack), job(epochs=1)
    go(spec, paths, stop_after=BASELINE_POLLS + 2)
    watcher = Watcher(2)
    two = DeviceConfig(device="cpu", threads=2)
    train(spec, paths, device_config=two, emit=watcher.emit, should_stop=watcher.should_stop)
    started = watcher.of("started")[0]
    assert (started.exact, started.differs) == (False, ("threads",))
    assert "threads" in watcher.of("logged")[-1].message
    again = go(spec, paths, stop_after=0)[1].of("started")[0]
    assert again.differs == ("threads",)


def test_checkpoints_of_another_network_are_refused(pack: Path, tmp_path: Path) -> None:
    paths = RunPaths(out=tmp_path, pack=pack)
    go(job(), paths, stop_after=1)
    with pytest.raises(SpecError, match="another network"):
        go(job(method={"dim": 32}), paths)


def test_a_finished_run_publishes_the_same_again(pack: Path, tmp_path: Path) -> None:
    paths = RunPaths(out=tmp_path, pack=pack)
    spec = job(epochs=1)
    first = go(spec, paths)[1]
    again = go(spec, paths)[1]
    assert again.of("stepped") == again.of("evaluated") == []
    assert again.sums() == first.sums()


def test_checkpoints_by_steps_and_the_last_two_kept(pack: Path, tmp_path: Path) -> None:
    spec = job(epochs=1, checkpoint_every_steps=2)
    watcher = go(spec, RunPaths(out=tmp_path, pack=pack))[1]
    assert [event.step for event in watcher.of("checkpointed")] == [2, 4, 6]
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["000000004", "000000006"]
    last = watcher.of("checkpointed")[-1]
    assert last.path == "checkpoints/000000006"


def test_checkpoints_by_time(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are as frequent as the job requests, within the cost limit."""
    spec = job(epochs=1, checkpoint_every_s=1e-6)
    start = BackgroundWriter.start

    def to_the_end(behind: BackgroundWriter, work: Callable[[], None]) -> None:
        start(behind, work)
        behind.wait()  # these steps are shorter than a write, which would put the next one off

    monkeypatch.setattr(BackgroundWriter, "start", to_the_end)
    monkeypatch.setattr(manager, "OVERHEAD_MAX", 1e-9)
    dear = go(spec, RunPaths(out=tmp_path / "dear", pack=pack))[1]
    assert [event.step for event in dear.of("checkpointed")] == [1, 6]
    monkeypatch.setattr(manager, "OVERHEAD_MAX", 1e9)
    cheap = go(spec, RunPaths(out=tmp_path / "cheap", pack=pack))[1]
    assert [event.step for event in cheap.of("checkpointed")] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_by_time_waits_for_the_one_being_written(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that needs the whole run for one: no second is begun, and no step waits for it."""
    monkeypatch.setattr(manager, "OVERHEAD_MAX", 1e9)
    watcher, written, save = Watcher(), threading.Event(), checkpoints.save

    def slowly(*args: Any, **words: Any) -> Any:  # noqa: ANN401  # what save takes and gives
        assert written.wait(60)
        return save(*args, **words)

    def should_stop() -> bool:
        if len(watcher.of("stepped")) == STEPS // EPOCHS:
            written.set()
        return False

    monkeypatch.setattr(checkpoints, "save", slowly)
    paths, device_config = RunPaths(out=tmp_path, pack=pack), DeviceConfig(device="cpu", threads=1)
    spec = job(epochs=1, checkpoint_every_s=1e-6, signals_every_steps=1)
    train(spec, paths, device_config=device_config, emit=watcher.emit, should_stop=should_stop)
    assert [event.step for event in watcher.of("checkpointed")] == [1, 6]


def test_a_stop_during_evaluation_evaluates_after_the_resume(pack: Path, tmp_path: Path) -> None:
    """The poll that stops it is the evaluation's own; its signals must not be lost."""
    paths, spec = RunPaths(out=tmp_path, pack=pack), job(epochs=1)
    stopped = go(spec, paths, stop_after=BASELINE_POLLS + 7)[1]
    assert [event.step for event in stopped.of("evaluated")] == [0]
    assert stopped.of("checkpointed")[-1].step == 6
    resumed = go(spec, paths)[1]
    assert [event.step for event in resumed.of("evaluated")] == [6]
    assert "knn_top1" in resumed.of("evaluated")[0].signals


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    pack: Path, tmp_path: Path
) -> None:
    spec = job(optim={"name": "sgd", "lr": 1e12}, checkpoint_every_steps=1, precision="fp32")
    watcher = Watcher()
    with pytest.raises(DivergedError) as caught:
        train(
            spec,
            RunPaths(out=tmp_path, pack=pack),
            device_config=DeviceConfig(device="cpu", threads=1),
            emit=watcher.emit,
            should_stop=watcher.should_stop,
        )
    assert caught.value.step >= 2
    kept = watcher.of("checkpointed")
    assert kept
    assert kept[-1].step < caught.value.step
    loaded = load_newest([tmp_path / "checkpoints"])
    assert loaded is not None
    assert all(v.isfinite().all() for v in loaded.state.values() if v.is_floating_point())


def test_signals_are_read_when_due_and_are_those_of_the_table(pack: Path, tmp_path: Path) -> None:
    watcher = go(job(signals_every_steps=5), RunPaths(out=tmp_path, pack=pack))[1]
    assert [event.step for event in watcher.of("stepped")] == [1, 5, 10, 12]
    stepped, evaluated = watcher.of("stepped")[-1].signals, watcher.of("evaluated")[-1].signals
    of_knn = knn.SIGNALS.keys() - {"knn_top5"}  # of more than five classes
    of_moco = moco.SIGNALS.keys() - {"temperature"}  # of a learned one
    of_every_method = COMMON_SIGNALS.keys() - {"contrast_loss"}  # beside pretexts
    assert stepped.keys() == of_every_method | of_moco
    assert evaluated.keys() == of_knn
    assert stepped["chance_loss"] == pytest.approx(3.258096538)  # ln 26
    assert stepped["negatives_fill_ratio"] == 1.0
    assert stepped["queue_dataset_ratio"] == pytest.approx(25 / ROWS)
    assert stepped["oldest_key_age_steps"] == 4.0
    assert stepped["lr"] < watcher.of("stepped")[0].signals["lr"]


def test_baselines_are_measured_once_and_told_beside_each_figure(
    pack: Path, tmp_path: Path
) -> None:
    first = go(job(), RunPaths(out=tmp_path, pack=pack), stop_after=BASELINE_POLLS + 3)[1]
    (measured,) = first.of("evaluated")
    assert (measured.step, measured.epoch) == (0, 0.0)
    baselines = measured.signals
    assert baselines.keys() == {"knn_top1_raw", "knn_top1_untrained", "knn_top1_majority"}
    again = go(job(), RunPaths(out=tmp_path, pack=pack))[1]
    figures = [event.signals for event in again.of("evaluated")]
    assert [event.step for event in again.of("evaluated")] == [6, 12]
    assert all(figure.items() >= baselines.items() for figure in figures)
    assert all("knn_top1" in figure for figure in figures)


def test_baselines_can_be_left_out(pack: Path, tmp_path: Path) -> None:
    watcher = go(job(evaluation={"baselines": False}), RunPaths(out=tmp_path, pack=pack))[1]
    assert [event.signals.keys() for event in watcher.of("evaluated")] == [{"knn_top1"}] * 2


def test_rows_without_labels_are_measured_by_what_needs_none(tmp_path: Path) -> None:
    images, _ = blobs(20, side_px=12, classes=2)
    write_pack(tmp_path / "pack", images)
    watcher = go(job(epochs=1), RunPaths(out=tmp_path / "out", pack=tmp_path / "pack"))[1]
    assert [event.seconds.keys() for event in watcher.of("evaluated")] == [{"geometry"}] * 2
    knn = job(epochs=1, evaluation={})
    watcher = go(knn, RunPaths(out=tmp_path / "knn", pack=tmp_path / "pack"))[1]
    assert watcher.of("evaluated") == []
    assert any("0 of 20 rows have labels" in event.message for event in watcher.of("logged"))


def test_a_test_pack_is_matched_by_the_names_of_its_classes(pack: Path, tmp_path: Path) -> None:
    """The same rows with their classes numbered in another order are classified as well."""
    images, labels = blobs(60, side_px=12, classes=3, seed=1)
    write_pack(tmp_path / "same", images, labels, classes=("a", "b", "c"))
    write_pack(tmp_path / "other", images, 2 - labels, classes=("c", "b", "a"))
    found = []
    for name in ("same", "other"):
        paths = RunPaths(out=tmp_path / f"out-{name}", pack=pack, test_pack=tmp_path / name)
        spec = job(epochs=1, evaluation={"k": 5, "feature": "backbone"})
        found.append(go(spec, paths)[1].of("evaluated")[-1].signals)
    assert found[0] == found[1]
    assert found[0]["knn_top1"] > 0.4

"""A run that is profiled: what it tells, and that it ends as one that is not."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.checkpoint.fingerprint import spec_sha256
from trainer.engine import profiler
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.schema.events import EVENT, Event, Phase, Profiled
from trainer.spec.job import JobSpec

ROWS, BATCH, EPOCHS = 72, 8, 3
STEPS, MEASURED = EPOCHS * 9, EPOCHS * 9 - 5


def job(**changes: Any) -> JobSpec:  # noqa: ANN401  # words of a spec, as JSON has them
    words = {
        "dataset": "made-up",
        "epochs": EPOCHS,
        "batch_rows": BATCH,
        "encoder": {"name": "small"},
        "method": {"queue_rows": 24, "dim": 16, **changes.pop("method", {})},
        "signals_every_steps": 2,
        "checkpoint_every_steps": 9,
        **changes,
    }
    return JobSpec.model_validate_json(json.dumps(words))


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack with rows of one size, resident on the device."""
    return made(tmp_path_factory.mktemp("resident") / "pack", mixed=False)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of images of several sizes, which are gathered by threads."""
    return made(tmp_path_factory.mktemp("mixed") / "pack", mixed=True)


def made(folder: Path, *, mixed: bool) -> Path:
    images, labels = blobs(ROWS, side_px=12, classes=3)
    rows = [images[0][:10], *images[1:]] if mixed else images
    write_pack(folder, rows, labels, classes=("a", "b", "c"))
    return folder


def go(
    spec: JobSpec, pack: Path, out: Path, *, polls: int | None = None, threads: int = 1
) -> list[Event]:
    """Return all events of a run that is stopped after a number of polls."""
    events: list[Event] = []
    asked = iter(range(10**6))
    train(
        spec,
        RunPaths(out=out, pack=pack),
        device_config=DeviceConfig(device="cpu", threads=threads),
        emit=events.append,
        should_stop=lambda: polls is not None and next(asked) >= polls,
    )
    return events


def told(events: list[Event]) -> list[Profiled]:
    return [event for event in events if isinstance(event, Profiled)]


def sums(events: list[Event]) -> dict[str, str]:
    (published,) = (event for event in events if event.type == "published")
    return {file.name: file.sha256 for file in published.files}


@pytest.mark.parametrize(
    ("where", "changes", "threads"),
    [("pack", {}, 1), ("resident", {"method": {"symmetric": True}, "precision": "bf16"}, 2)],
)
def test_every_phase_is_told_and_they_add_up(
    where: str,
    changes: dict[str, Any],
    threads: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder = request.getfixturevalue(where)
    last = told(go(job(profile=True, **changes), folder, tmp_path, threads=threads))[-1]
    assert (last.step, last.steps_measured) == (STEPS, MEASURED)
    assert tuple(phase.name for phase in last.phases) == get_args(Phase)
    of_steps = [phase for phase in last.phases if phase.name not in {"evaluation", "checkpoint"}]
    assert sum(phase.share for phase in of_steps) == pytest.approx(1.0, abs=1e-6)
    assert sum(phase.mean_s for phase in of_steps) == pytest.approx(last.step_mean_s, rel=1e-6)
    shares = {phase.name: phase.share for phase in last.phases}
    assert 0.0 < shares["evaluation"] < 1.0
    assert shares["backward"] > 0.0
    assert last.rows_per_s == pytest.approx(BATCH / last.step_mean_s)
    assert last.sentence.endswith(".")


@pytest.mark.parametrize("threads", [1, 2])
def test_it_ends_in_the_same_bits(pack: Path, tmp_path: Path, threads: int) -> None:
    """Every published file but the profile itself, and the list of sums that names it."""
    plain = sums(go(job(), pack, tmp_path / "plain", threads=threads))
    profiled = sums(go(job(profile=True), pack, tmp_path / "profiled", threads=threads))
    assert profiled.keys() - plain.keys() == {"profile.json"}
    same = plain.keys() - {"SHA256SUMS"}
    assert {name: profiled[name] for name in same} == {name: plain[name] for name in same}
    assert spec_sha256(job(profile=True)) == spec_sha256(job())


def test_a_profile_can_be_asked_for_and_left_when_a_run_goes_on(pack: Path, tmp_path: Path) -> None:
    whole = sums(go(job(), pack, tmp_path / "whole"))
    stopped = go(job(profile=True), pack, tmp_path / "cut", polls=8 + 6)  # six of the baselines
    assert [event.step for event in told(stopped)] == [8]
    rest = go(job(), pack, tmp_path / "cut")
    (started,) = (event for event in rest if event.type == "started")
    assert started.exact
    assert sums(rest) == whole


def test_the_published_file_is_what_was_told_last_and_small(pack: Path, tmp_path: Path) -> None:
    last = told(go(job(profile=True), pack, tmp_path))[-1]
    published = json.loads((tmp_path / "artifacts" / "profile.json").read_text())
    assert published == last.model_dump(mode="json", exclude={"type"})
    line = last.model_dump_json()
    assert len(line) < 2500
    assert EVENT.validate_json(line) == last


def test_it_is_told_while_it_runs_but_not_at_every_step(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(told(go(job(profile=True), pack, tmp_path / "rarely"))) <= 2
    monkeypatch.setattr(profiler, "EVERY_S", 0.0)
    often = told(go(job(profile=True), pack, tmp_path / "often"))
    first = profiler.STEPS_MIN
    assert [event.steps_measured for event in often] == [*range(first, MEASURED + 1), MEASURED]


def test_without_a_word_nothing_is_told(pack: Path, tmp_path: Path) -> None:
    events = go(job(epochs=1), pack, tmp_path)
    assert told(events) == []
    assert not (tmp_path / "artifacts" / "profile.json").exists()


def test_too_few_steps_tell_nothing(pack: Path, tmp_path: Path) -> None:
    assert told(go(job(profile=True), pack, tmp_path, polls=4 + 6)) == []

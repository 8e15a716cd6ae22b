"""Runs with a failing disk, with missing data, or stopped during a write."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.trainer.killed_attempts import (
    Attempt,
    Cuts,
    end,
    forkserver_of_cuts,
    mixed_pack,
    spec,
    states,
)

JOB = spec(checkpoint_every_steps=2)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cuts]:
    with forkserver_of_cuts() as forkserver:
        yield Cuts(forkserver, mixed_pack(tmp_path_factory.mktemp("data") / "pack"))


@pytest.fixture(scope="module")
def whole(cuts: Cuts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert cuts.attempt(JOB, out).of("ended")[0].outcome == "succeeded"
    return out


def first_event(events: int) -> None:
    assert os.read(events, 1 << 16)


@pytest.mark.parametrize("name", ["checkpoint.pre_fsync", "checkpoint.mid_write"])
def test_a_failed_write_ends_the_attempt_and_keeps_the_checkpoint_before(
    name: str, cuts: Cuts, whole: Path, tmp_path: Path
) -> None:
    """A file with a failed fsync is abandoned under its name and never synced again."""
    nth = 4 if name == "checkpoint.pre_fsync" else 2
    failed = cuts.attempt(JOB, tmp_path / "1", failpoints=f"{name}=raise(EIO)@{nth}")
    ended = failed.of("ended")[0]
    assert (failed.status, ended.outcome, ended.code) == (0, "failed", "storage")
    assert "000000004 could not be written" in ended.message
    assert [path.name for path in (failed.out / "checkpoints").iterdir()] == ["000000002"]
    again = cuts.attempt(JOB, tmp_path / "2", checkpoints=failed.announced)
    assert again.of("started")[0].step == 2
    assert end(again.out) == end(whole)


def test_sigterm_does_not_wait_for_a_checkpoint_that_is_being_written(
    cuts: Cuts, whole: Path, tmp_path: Path
) -> None:
    """The second rung of the ladder: leave now. What was half written is cleaned later."""
    out = tmp_path / "1"
    with cuts.begun(JOB, out, failpoints="checkpoint.pre_manifest=delay(120)") as (child, _, _):
        until_s = time.monotonic() + 30.0
        while not list(out.glob("checkpoints/*.tmp/meta.json")):
            assert time.monotonic() < until_s
            time.sleep(0.01)
        asked_s = time.monotonic()
        cuts.signal(child, signal.SIGTERM)
        assert cuts.status(child) == 128 + signal.SIGTERM
        assert time.monotonic() - asked_s < 10.0
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["000000002.tmp"]
    again = cuts.attempt(JOB, tmp_path / "3", checkpoints=[out / "checkpoints"])
    assert end(again.out) == end(whole)


def test_a_dataset_that_is_removed_under_a_run_is_read_to_the_end(
    cuts: Cuts, whole: Path, tmp_path: Path
) -> None:
    """The maps keep its bytes. The next attempt has no dataset, and says so."""
    pack = mixed_pack(tmp_path / "pack")
    slow = "train.step=delay(0.05)"
    with cuts.begun(JOB, tmp_path / "1", failpoints=slow, pack=pack) as (child, events, _):
        first_event(events)
        shutil.rmtree(pack)
        while os.read(events, 1 << 16):
            pass
        assert cuts.status(child) == 0
    assert end(tmp_path / "1") == end(whole)
    after = cuts.attempt(JOB, tmp_path / "2", pack=pack)
    assert after.of("ended")[0].code == "dataset_missing"


def test_a_dataset_cut_short_under_a_run_keeps_the_checkpoint_and_names_the_damage(
    cuts: Cuts, whole: Path, tmp_path: Path
) -> None:
    """Reading a map past its file's end is SIGBUS; the next attempt says what is wrong."""
    pack, out = mixed_pack(tmp_path / "pack"), tmp_path / "1"
    right = (pack / "pixels.u8").read_bytes()
    slow = "train.step=delay(0.05)"
    with cuts.begun(JOB, out, failpoints=slow, pack=pack) as (child, events, _):
        until_s = time.monotonic() + 30.0
        while not states(out):
            assert time.monotonic() < until_s
            time.sleep(0.01)
        os.truncate(pack / "pixels.u8", 0)
        while os.read(events, 1 << 16):
            pass
        assert cuts.status(child) == -signal.SIGBUS
    assert "Bus error" in (out / "log.txt").read_text()
    kept = [out / "checkpoints"]
    damaged: Attempt = cuts.attempt(JOB, tmp_path / "2", checkpoints=kept, pack=pack)
    ended = damaged.of("ended")[0]
    assert ended.code == "bad_dataset"
    assert "pixels.u8 has 0 bytes" in ended.message
    (pack / "pixels.u8").write_bytes(right)
    mended = cuts.attempt(JOB, tmp_path / "3", checkpoints=kept, pack=pack)
    assert mended.of("started")[0].step >= 2
    assert end(mended.out) == end(whole)

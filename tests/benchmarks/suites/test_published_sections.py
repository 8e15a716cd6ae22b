"""Each command from its arguments to its section, on next to nothing, with arms in this process."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.arms.interface import Arm, Block, Setup, arm_module
from benchmarks.harness import rounds
from benchmarks.suites import quality, speed, views_speed, waiting
from benchmarks.suites.growth import main as growth
from benchmarks.suites.growth import measurements as growth_parts


@dataclass
class ArmHere:
    """As an ArmProcess, without one."""

    arm: Arm

    def read_block(self) -> Block:
        return Block(0.0, 0.0)

    def run_steps(self, count: int) -> Block:
        return self.arm.run_steps(count)

    def wait_until_idle(self) -> None:
        """It is."""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    @contextmanager
    def running_arm(name: str, setup: Setup) -> Iterator[ArmHere]:
        with arm_module(name).open_arm(setup) as arm:
            yield ArmHere(arm)

    monkeypatch.setattr(rounds, "running_arm", running_arm)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, module: object, out: Path, words: str) -> str:
    """Run a command; RESULTS.md afterwards."""
    monkeypatch.setattr(sys, "argv", ["x", *words.split(), "--out", str(out)])
    module.main()  # type: ignore[attr-defined]  # each command has one
    return (out / "RESULTS.md").read_text()


def test_speed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "--encoders small --arms practice paper --rows 32 --rounds 2 --untimed 0 --steps 1 "
        "--batch-rows 8 --queue-rows 32 --side-px 16 --workers 0"
    )
    page = call(monkeypatch, speed, out, words)
    assert "## Training speed, small" in page
    assert "| ours, against itself (A/A) |" in page
    figures = json.loads((out / "speed-small.json").read_text())
    assert {name: len(rates) for name, rates in figures["rows_per_s"].items()} == {
        "ours": 4,
        "practice": 2,
        "paper": 2,
    }


@pytest.mark.chaos
def test_waiting(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")  # as the arms do, in this process; then it is undone
    words = "--rows 32 --rounds 1 --steps 1 --batch-rows 8 --queue-rows 32"
    page = call(monkeypatch, waiting, out, words)
    assert [title in page for title in waiting.TITLES.values()] == [True] * 2
    assert page.count("| ours-asleep |") == page.count("| ours-spinning |") == 2


def test_views_speed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "--rows 8 --rounds 1 --untimed 0 --steps 1 --batch-rows 2 --workers 0"
    page = call(monkeypatch, views_speed, out, words)
    assert [part.title in page for part in views_speed.PARTS] == [True] * 3
    assert "last loss" not in page
    assert "| views-pil-memory |" in page


def test_quality_keeps_its_pieces(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "--rows 60 --epochs 1 --seeds 2 --workers 0"
    kept = out / "quality"
    with pytest.raises(FileNotFoundError):  # no table of a part
        call(monkeypatch, quality, out, f"{words} --arm ours --seed 1")
    assert [path.name for path in kept.iterdir()] == ["digits-60-rows-1-epochs-ours-1.json"]
    before = (kept / "digits-60-rows-1-epochs-ours-1.json").stat().st_mtime_ns
    page = call(monkeypatch, quality, out, words)
    assert (kept / "digits-60-rows-1-epochs-ours-1.json").stat().st_mtime_ns == before
    assert len(list(kept.iterdir())) == 4
    assert "| reference |" in page


def test_growth(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(name: str, **arguments: object) -> growth_parts.Figures:
        monkeypatch.setattr(sys, "argv", ["x", name, json.dumps(arguments)])
        return growth_parts.PARTS[name](**json.loads(sys.argv[2]))

    monkeypatch.setattr(growth, "run_measurement", part)
    words = "--rows 40 80 --queues 16 32 64 --rounds 2 --steps 1 --batch-rows 8"
    page = call(monkeypatch, growth, out, words)
    assert page.count("- met: ") + page.count("- MISSED: ") == 8
    assert "- met: index: 24.0 bytes a row; at most 24" in page

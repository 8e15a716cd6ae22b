"""Verdicts on mutants of a project of one line."""

import shutil
from pathlib import Path

import pytest

import tests.mutants.__main__ as command
from tests.mutants.runner import ROOT, Copy, Mutant, Outcome, Verdict
from tests.mutants.table import MUTANTS

TEST = """
import time

import pytest

import product


def test_product():
    while product.STATE == "hangs":
        time.sleep(0.1)
    if product.STATE == "skips":
        pytest.skip()
    assert product.STATE != "wrong"
"""


def mutant(state: str) -> Mutant:
    return Mutant(state, "product.py", "right", state, ("test_product.py",))


@pytest.fixture
def project(tmp_path: Path) -> Copy:
    copy = Copy(tmp_path)
    plugins = copy.root / "tests" / "mutants"
    plugins.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "mutants" / "hurry.py", plugins)
    (copy.root / "product.py").write_text('STATE = "right"\n')
    (copy.root / "test_product.py").write_text(TEST)
    return copy


@pytest.mark.parametrize(
    ("state", "verdict", "killed_by"),
    [
        ("wrong", "killed", "test_product.py::test_product"),
        pytest.param("other", "survives", "", marks=pytest.mark.chaos),
        ('right"\nraise ImportError  # "', "survives", ""),
        ("skips", "skipped", ""),
    ],
)
def test_a_verdict_is_of_tests_that_ran(
    project: Copy, state: str, verdict: Verdict, killed_by: str
) -> None:
    outcome = project.judge(mutant(state))
    assert (outcome.verdict, outcome.killed_by) == (verdict, killed_by)
    assert (project.root / "product.py").read_text() == 'STATE = "right"\n'


def test_a_mutant_that_hangs_is_not_decided(project: Copy) -> None:
    outcome = project.judge(mutant("hangs"), timeout_s=1.0)
    assert (outcome.verdict, outcome.killed_by) == ("timed out", "")
    assert outcome.words == "not done within 1 s"


class FakeBench:
    """A bench with a verdict of its own on each mutant."""

    verdicts: tuple[Verdict, ...] = ()

    def __init__(self, folder: Path, *, copies: int) -> None:
        del folder, copies

    def baseline(self, mutants: list[Mutant]) -> None:
        del mutants

    def judge(self, mutants: list[Mutant]) -> list[Outcome]:
        return [
            Outcome(one, verdict, "a test" if verdict == "killed" else "", 1.0, "")
            for one, verdict in zip(mutants, self.verdicts, strict=True)
        ]


@pytest.mark.parametrize(
    ("verdicts", "code", "tally"),
    [
        (("killed", "killed"), 0, "2 of 2 killed in"),
        (("killed", "survives"), 1, "1 of 2 killed in"),
        (("killed", "timed out"), 1, "1 of 1 killed, 1 not decided (timed out) in"),
        (("killed", "skipped"), 0, "1 of 1 killed, 1 not judged"),
    ],
)
def test_one_that_timed_out_fails_the_run_and_does_not_survive(
    verdicts: tuple[Verdict, ...],
    code: int,
    tally: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "Bench", FakeBench)
    monkeypatch.setattr(FakeBench, "verdicts", verdicts)
    monkeypatch.setattr(command, "MUTANTS", MUTANTS[:2])
    assert command.main([]) == code
    assert tally in capsys.readouterr().out

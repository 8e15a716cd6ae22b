"""The table of mutants cannot rot: each still applies, and the tests it names are there."""

import re
from pathlib import Path

import pytest

from tests.mutants.runner import ROOT, DoesNotApply, Mutant
from tests.mutants.table import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_applies_and_its_tests_are_there(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text("utf-8")
    changed = mutant.mutated(text)
    assert changed != text
    if mutant.file.endswith(".py"):
        compile(changed, mutant.file, "exec")
    for test in mutant.tests:
        path, _, name = test.partition("::")
        found = re.search(rf"^def {name.partition('[')[0]}\(", (ROOT / path).read_text(), re.M)
        assert found, test


def test_names_are_told_once() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 24


@pytest.mark.parametrize("old", ["absent", "twice"])
def test_what_does_not_apply_is_told_by_name(old: str) -> None:
    mutant = Mutant("some defect", "some/file.py", old, "", ())
    with pytest.raises(DoesNotApply, match="'some defect' no longer applies"):
        mutant.mutated("twice, twice")


def test_every_file_of_the_tests_of_a_mutant_is_run_by_make_test() -> None:
    for mutant in MUTANTS:
        for test in mutant.tests:
            path = Path(test.partition("::")[0])
            assert path.parts[0] == "tests"
            assert path.name.startswith("test_")

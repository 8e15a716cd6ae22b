"""The table of claims: what is kept, what is not run, and the exit status."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.suites.breadth import main
from benchmarks.suites.breadth.claim import Claim, Row, exit_code
from benchmarks.suites.breadth.lab import Lab


def row(*, is_met: bool | None) -> Row:
    return Row(claim="c", data="d", figure="1", baseline="0", wanted="> 0", is_met=is_met)


class Counted:
    """A claim whose figure is a piece; it counts how often it is measured."""

    def __init__(self, *, is_met: bool = True) -> None:
        self.calls, self.is_met = 0, is_met

    def claim(self, name: str, *, files: tuple[str, ...] = (), settings: object = 1) -> Claim:
        return Claim(name=name, kind="images", files=files, settings=settings, measure=self.rows)

    def rows(self, lab: Lab) -> Iterator[Row]:
        def measure() -> dict[str, float]:
            self.calls += 1
            return {"figure": 0.5}

        for seed in range(lab.seeds):
            assert lab.piece(f"counted-{seed}", {"seed": seed}, measure) == {"figure": 0.5}
        yield row(is_met=self.is_met)


def run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, claims: list[Claim], words: str = ""
) -> tuple[int, str]:
    """Run the command on other claims; its exit status, and the page."""
    monkeypatch.setattr(main, "CLAIMS", tuple(claims))
    options = f"--data {folder} --work {folder / 'work'} --out {folder / 'out'} --jobs 1 {words}"
    monkeypatch.setattr(sys, "argv", ["x", *options.split()])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, (folder / "out" / "RESULTS.md").read_text()


def test_a_line_has_the_time_and_says_whether_it_is_met() -> None:
    cells = "| c | d | 1 | 0 | > 0 |"
    assert row(is_met=True).markdown() == f"{cells} yes | 0 | 0 |"
    assert row(is_met=False).markdown() == f"{cells} **no** | 0 | 0 |"
    assert row(is_met=None).markdown() == f"{cells}  | 0 | 0 |"


@pytest.mark.parametrize(
    ("is_met", "missing", "code"),
    [
        ([True, None], [], 0),
        ([], [], 0),
        ([True, False], [], 1),
        ([True], ["x.zip"], 2),
        ([False], ["x.zip"], 2),
    ],
)
def test_exit_status(is_met: list[bool | None], missing: list[str], code: int) -> None:
    assert exit_code([row(is_met=each) for each in is_met], missing) == code


def test_rows_and_pieces_are_not_measured_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Counted()
    assert run(monkeypatch, tmp_path, [first.claim("a")])[0] == 0
    assert run(monkeypatch, tmp_path, [first.claim("a")])[0] == 0
    assert first.calls == 3
    # Rows of other settings are made anew, from the pieces, which did not change.
    assert run(monkeypatch, tmp_path, [first.claim("a", settings=2)])[0] == 0
    assert first.calls == 3
    assert run(monkeypatch, tmp_path, [first.claim("a")], "--seeds 4")[0] == 0
    assert first.calls == 4


def test_a_second_row_of_the_same_pieces_took_no_time(tmp_path: Path) -> None:
    counted = Counted()

    def rows(lab: Lab) -> Iterator[Row]:
        yield from counted.rows(lab)
        yield row(is_met=None)

    claim = Claim(name="two", kind="images", files=(), settings=1, measure=rows)
    first, second = main.measured(claim, Lab(data=tmp_path, work=tmp_path))
    assert first.seconds > 0.0
    assert second == row(is_met=None)


def test_a_run_that_was_cut_goes_on_from_its_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted()
    lab = Lab(data=tmp_path, work=tmp_path / "work", seeds=2)
    list(counted.rows(lab))
    assert run(monkeypatch, tmp_path, [counted.claim("a")])[0] == 0
    assert counted.calls == 3


def test_a_claim_without_its_files_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, absent = Counted(), Counted()
    claims = [here.claim("here"), absent.claim("absent", files=("absent.zip",))]
    code, page = run(monkeypatch, tmp_path, claims)
    assert (code, here.calls, absent.calls) == (2, 3, 0)
    assert "- absent: not run, no absent.zip" in page
    figures = json.loads((tmp_path / "out" / "breadth.json").read_text())
    rows = {name: len(each["rows"]) for name, each in figures["claims"].items()}
    assert rows == {"here": 1, "absent": 0}


def test_other_claims_are_shown_as_they_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met, missed = Counted(), Counted(is_met=False)
    claims = [met.claim("met"), missed.claim("missed")]
    code, page = run(monkeypatch, tmp_path, claims, "--row met")
    assert (code, missed.calls) == (0, 0)
    assert "- missed: not run\n" in page
    assert run(monkeypatch, tmp_path, claims, "--row missed")[0] == 1
    code, page = run(monkeypatch, tmp_path, claims, "--row met")
    assert code == 0
    assert page.count("| c | d |") == 2
    assert run(monkeypatch, tmp_path, claims)[0] == 1


def test_names_of_claims_differ_and_files_are_named() -> None:
    names = [claim.name for claim in main.CLAIMS]
    assert len(set(names)) == len(names)
    assert all(file.endswith(".zip") for claim in main.CLAIMS for file in claim.files)


def test_published_rows_of_other_claims_stay_without_the_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claims(settings: object) -> list[Claim]:
        return [Counted().claim("a", settings=settings), Counted().claim("b")]

    run(monkeypatch, tmp_path, claims((1, 2)))
    shutil.rmtree(tmp_path / "work")
    assert "- a: not run" not in run(monkeypatch, tmp_path, claims((1, 2)), "--row b")[1]
    shutil.rmtree(tmp_path / "work")
    assert "- a: not run" in run(monkeypatch, tmp_path, claims((1, 3)), "--row b")[1]

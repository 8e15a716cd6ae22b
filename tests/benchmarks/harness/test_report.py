"""Sections of RESULTS.md, each replaced by its own command alone."""

import argparse
import json
from pathlib import Path

import pytest

from benchmarks.harness.report import (
    Section,
    add_report_options,
    command_line,
    hardware,
    publish,
    write_section,
)


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    write_section(page, "one", "first of one\n")
    write_section(page, "two", "first of two")
    before = page.read_text()
    write_section(page, "one", "second of one")
    after = page.read_text()
    assert before.startswith("# Results\n")
    assert after == before.replace("first of one", "second of one")
    assert after.index("second of one") < after.index("first of two")


def test_what_people_wrote_between_sections_stays(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    write_section(page, "one", "x")
    page.write_text(page.read_text() + "\nA remark.\n")
    write_section(page, "one", "y")
    write_section(page, "two", "z")
    text = page.read_text()
    assert "A remark." in text
    assert "\nx\n" not in text
    assert text.index("y") < text.index("A remark.") < text.rindex("z")


def test_a_name_that_begins_like_another_is_another(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    write_section(page, "speed", "a")
    write_section(page, "speed-small", "b")
    write_section(page, "speed", "c")
    assert "\nb\n" in page.read_text()


def test_a_section_without_an_end_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("<!-- one -->\nhalf\n")
    with pytest.raises(SystemExit, match="does not end"):
        write_section(page, "one", "x")
    assert page.read_text() == "<!-- one -->\nhalf\n"


def test_a_command_names_files_and_no_places() -> None:
    words = ["/x/python3", "-m", "benchmarks", "speed", "--data", "../y/a b.zip", "--out", "/z"]
    assert command_line(words) == "python -m benchmarks speed --data 'a b.zip'"


def test_publishing_keeps_the_figures_and_says_what_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_report_options(parser)
    args = parser.parse_args(["--out", str(tmp_path), "--date", "2000-01-02"])
    publish(Section("one", "One", ["| a |"], {"x": [1.5]}), args)
    figures = json.loads((tmp_path / "one.json").read_text())
    text = (tmp_path / "RESULTS.md").read_text()
    assert figures["x"] == [1.5]
    assert figures["date"] == "2000-01-02"
    assert "torch" in figures["versions"]
    assert hardware() in text
    assert "| a |" in text
    assert "| a |" in capsys.readouterr().out
    assert str(tmp_path) not in text

"""Front door of the benchmarks: `python -m benchmarks NAME`."""

import re
import sys

import pytest

from benchmarks.__main__ import SUITES, main, suite_paths


def test_the_list_names_every_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    main()
    listed = re.findall(r"^(\w+) {2,}\S", capsys.readouterr().out, re.MULTILINE)
    assert listed == sorted(suite_paths())
    assert {"speed", "growth", "gpu", "load"} <= set(listed)


@pytest.mark.parametrize("name", suite_paths())
def test_every_benchmark_shows_its_command_and_has_a_main_function(name: str) -> None:
    source = suite_paths()[name].read_text()
    assert f"\n    python -m benchmarks {name} " in source
    assert "\ndef main() -> None:\n" in source


def test_options_go_to_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "overhead", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out.startswith("usage: python -m benchmarks overhead [-h] [--rounds")


def test_an_unknown_name_is_refused_with_the_names_that_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "spead"])
    with pytest.raises(SystemExit, match=r"no benchmark spead\. Choose from: baselines, .*speed"):
        main()


def test_the_makefile_runs_benchmarks_that_exist() -> None:
    makefile = (SUITES.parents[1] / "Makefile").read_text()
    named = re.search(r"^BENCHMARKS \?= (.+)$", makefile, re.MULTILINE)
    assert named is not None
    assert set(named[1].split()) <= set(suite_paths())

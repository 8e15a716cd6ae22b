"""Summary of skipped tests at the end of a run."""

import subprocess
import sys
from pathlib import Path

from tests.support.system.required_tools import missing, skip_summary


def test_every_reason_is_counted_and_one_command_installs_all() -> None:
    reasons = [missing("promtool")] * 3 + ["needs a GPU"] + [missing("strace"), missing("promtool")]
    assert skip_summary(reasons) == [
        "    4  promtool is not installed (apt-get install prometheus)",
        "    1  needs a GPU",
        "    1  strace is not installed (apt-get install strace)",
        "Run them too: apt-get install --yes prometheus strace",
    ]


def test_nothing_is_to_be_installed_where_nothing_would_help() -> None:
    assert skip_summary(["needs a GPU"]) == ["    1  needs a GPU"]
    assert not skip_summary([])


def test_a_run_ends_with_its_skips(tmp_path: Path) -> None:
    """In two processes, as `make test` runs."""
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "from tests.support.system.required_tools import PACKAGES, needs\n"
        "PACKAGES['no-such-program'] = 'some-package'\n"
        "@needs('no-such-program')\n"
        "def test_a() -> None: ...\n"
        "@pytest.mark.parametrize('n', range(3))\n"
        "def test_b(n: int) -> None: pytest.skip('needs a GPU')\n"
        "def test_c() -> None: ...\n"
    )
    repo = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [
            *command,
            "--numprocesses",
            "2",
            "--rootdir",
            str(tmp_path),
            str(tmp_path / "test_one.py"),
        ],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "    3  needs a GPU\n"
        "    1  no-such-program is not installed (apt-get install some-package)\n"
        "Run them too: apt-get install --yes some-package\n"
    ) in done.stdout

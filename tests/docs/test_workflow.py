"""The hosted CI runs the two commands of README.md, in a workflow that the schema accepts."""

import subprocess
import sys
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]
WORKFLOW = REPO / ".github" / "workflows" / "ci.yml"
COMMANDS = ["make setup", "make test"]


def check(workflow: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter with the schema that it carries; no network is used."""
    linter = Path(sys.executable).with_name("check-jsonschema")
    command = [str(linter), "--builtin-schema", "vendor.github-workflows", str(workflow)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_workflow_is_valid(tmp_path: Path) -> None:
    checked = check(WORKFLOW)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    broken = tmp_path / "ci.yml"
    broken.write_text(WORKFLOW.read_text().replace("runs-on:", "run-on:"))
    assert check(broken).returncode == 1


def test_the_workflow_runs_the_commands_of_the_readme() -> None:
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == COMMANDS
    readme = (REPO / "README.md").read_text()
    assert all(command in readme for command in COMMANDS)
    assert job["runs-on"] == "ubuntu-latest"

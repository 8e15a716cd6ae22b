"""Commands and claims of the pages, tried out."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from service.cli.main import app
from trainer.spec.job import JobSpec

REPO = Path(__file__).resolve().parents[1]
README = (REPO / "README.md").read_text()
MAKEFILE = (REPO / "Makefile").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _commands() -> list[str]:
    return [
        line for block in _blocks("sh") for line in block.splitlines() if line.startswith("moco ")
    ]


@pytest.mark.parametrize("line", _commands())
def test_a_command_of_the_readme_exists_with_its_options(line: str) -> None:
    """Each word is looked up in the command line itself; nothing is run."""
    command: Any = typer.main.get_command(app)
    words = line.split()[1:]
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_table_of_commands_names_every_command_and_no_other() -> None:
    command: Any = typer.main.get_command(app)
    table = README.partition("## Commands")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(?:moco )?(?:dataset )?([a-z]+)`", table))
    of_dataset = set(command.commands["dataset"].commands)
    assert named == (set(command.commands) - {"dataset"}) | of_dataset


@pytest.mark.parametrize("block", _blocks("json"))
def test_a_spec_of_the_readme_is_a_spec(block: str) -> None:
    assert JobSpec.model_validate_json(block).model_dump(include=json.loads(block).keys())


@pytest.mark.parametrize("block", _blocks("python"))
def test_the_python_of_the_readme_compiles(block: str) -> None:
    compile(block, "README.md", "exec")


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*?## ", MAKEFILE, re.MULTILINE))
    pages = [REPO / "README.md", REPO / "CONTRIBUTING.md", *(REPO / "docs").rglob("*.md")]
    for page in pages:
        assert set(re.findall(r"`make ([a-z-]+)`", page.read_text())) <= targets


def test_help_answers_at_once_and_without_tensors() -> None:
    code = (
        "import sys; from service.cli.main import app\n"
        "sys.exit([m for m in ('torch', 'numpy', 'fastapi') if m in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()

"""Run the steps of a Dockerfile in empty folders and fresh virtual environments, without Docker.

    python docker/check.py docker/service.Dockerfile

Each stage is a folder with a virtual environment of its own: COPY copies into it, RUN runs in it.
Steps that need root (`useradd`, `install`) are named and left out. At the end the last stage must
be able to import the module that its CMD starts. Standard library only.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
NEEDS_ROOT = ("useradd", "groupadd", "install", "apt-get")


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    rest: str


@dataclass(slots=True)
class Stage:
    """A folder that stands for an image's root, and where in it the next step runs."""

    root: Path
    workdir: str = "/"

    def path(self, inside: str) -> Path:
        """Return the path on this machine of a path of the image."""
        absolute = inside if inside.startswith("/") else f"{self.workdir.rstrip('/')}/{inside}"
        return self.root / absolute.lstrip("/")


def steps(text: str) -> Iterator[Step]:
    """The instructions, with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Step(word.upper(), rest.strip())


def check(dockerfile: Path, scratch: Path) -> None:
    """Run every step; raises CalledProcessError or OSError at the first that fails."""
    stages: dict[str, Stage] = {}
    stage = Stage(scratch)
    for step in steps(dockerfile.read_text()):
        _say(f"{step.word} {step.rest}")
        if step.word == "FROM":
            name = step.rest.partition(" AS ")[2] or f"stage{len(stages)}"
            stage = stages[name] = Stage(scratch / name)
            venv.create(stage.root / "venv", with_pip=True)
        elif step.word == "WORKDIR":
            stage.workdir = step.rest
            stage.path(".").mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY":
            _copy(step.rest, stage, stages)
        elif step.word == "RUN":
            _run(step.rest, stage)
        elif step.word == "CMD":
            module = json.loads(step.rest)[2]
            _execute(["python", "-c", f"import {module}.__main__"], stage)


def _copy(rest: str, stage: Stage, stages: dict[str, Stage]) -> None:
    *words, target = shlex.split(rest)
    source_of = Stage(REPO)
    if words[0].startswith("--from="):
        source_of = stages[words.pop(0).partition("=")[2]]
    for word in words:
        source, goal = source_of.path(word), stage.path(target)
        if target.endswith("/"):
            goal = goal / source.name
        goal.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, goal, dirs_exist_ok=True, ignore=skip)
        else:
            shutil.copy(source, goal)


def _run(rest: str, stage: Stage) -> None:
    for command in rest.split("&&"):
        words = shlex.split(command)
        if words[0] in NEEDS_ROOT:
            _say(f"  left out, needs root: {command.strip()}")
        else:
            _execute(words, stage)


def _execute(words: list[str], stage: Stage) -> None:
    """Run a command with the stage's own Python first on PATH."""
    binaries = stage.root / "venv" / "bin"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{binaries}:{environment['PATH']}"
    program = binaries / words[0]
    command = [str(program), *words[1:]] if program.exists() else words
    subprocess.run(command, cwd=stage.path("."), env=environment, check=True)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(dockerfile: str) -> int:
    """0 if every step works."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            check(Path(dockerfile), Path(scratch))
        except (subprocess.CalledProcessError, OSError, shutil.Error) as error:
            _say(f"FAILED: {error}")
            return 1
    _say(f"{dockerfile}: every step works")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

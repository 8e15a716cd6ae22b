"""The code blocks of a page, as a reader would run them from top to bottom.

A block of `console` holds commands after `$ ` and under each what it prints; `...` stands for
anything. A block of `sh` is not run by any test, and so there may be none in `docs/`. What a page
needs beside itself is named in comments, which no reader sees:

    <!-- test: photos -->       the fixture of that name has been made in the folder
    <!-- test: skip REASON -->  the next block is not run
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOTE = re.compile(r"<!-- test: (.+?) -->\s*\Z")
FIXTURES = re.compile(r"<!-- test: (?!skip)([a-z, ]+) -->")
LANGUAGES = frozenset({"console", "python", "json", "toml", "yaml", "text"})
"""Those of `docs/`; the first two are run, the next three are read."""


class Block(NamedTuple):
    """One block of code."""

    line: int
    language: str
    text: str
    skip: str
    """Reason it is not run; empty if it is."""


class Command(NamedTuple):
    """One command of a console, and what it should print."""

    text: str
    expected: str


def blocks(page: str) -> Iterator[Block]:
    """Every block, in order."""
    for match in BLOCK.finditer(page):
        before = page[: match.start()]
        note = NOTE.search(before)
        skip = note[1].removeprefix("skip ") if note and note[1].startswith("skip ") else ""
        yield Block(before.count("\n") + 1, match[1], match[2], skip)


def fixtures(page: str) -> set[str]:
    """Names of what the page needs."""
    return {name.strip() for names in FIXTURES.findall(page) for name in names.split(",")}


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console; a `\\` at the end of a line goes on with the next."""
    text, expected = "", ""
    for line in block.text.replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            if text:
                yield Command(text, expected)
            text, expected = line[2:], ""
        else:
            expected += line + "\n"
    if text:
        yield Command(text, expected)


def matches(expected: str, printed: str) -> bool:
    """Return whether the lines were printed, in this order; others may be between them."""
    place = 0
    lines = [line.rstrip() for line in printed.splitlines()]
    for expected_line in expected.splitlines():
        words = [re.escape(" ".join(part.split())) for part in expected_line.split("...")]
        pattern = re.compile(".*".join(words) + r"\Z")
        while place < len(lines) and not pattern.match(" ".join(lines[place].split())):
            place += 1
        if place == len(lines):
            return False
        place += 1
    return True


def run_console(block: Block, *, cwd: Path, env: Mapping[str, str]) -> None:
    """Run each command by the shell, as a reader does; it must succeed and print what it should."""
    for command in commands(block):
        done = subprocess.run(
            ["bash", "-c", command.text],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"line {block.line}: {command.text}\n{printed}"
        assert "Traceback" not in printed
        assert matches(command.expected, printed), (
            f"line {block.line}: {command.text}\nprinted\n{printed}\nnot\n{command.expected}"
        )


def run_python(block: Block, *, cwd: Path, env: Mapping[str, str]) -> None:
    """Run it as a program of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", block.text],
        cwd=cwd,
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"line {block.line}:\n{block.text}\n{done.stderr}"

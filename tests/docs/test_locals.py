"""Names in the code say what they hold: the field's word, not a participle or a pronoun."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
NAMED = ("benchmarks", "docker", "docs", "mocoserve", "service", "worker")
"""Packages whose names are checked."""
VAGUE = frozenset({"asked", "found", "known", "one", "said", "seen", "told"})


def names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of every variable, argument, attribute, function and class."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name):
                yield node.lineno, name


def vague(source: str) -> list[str]:
    """Return "line: name" of each name that says nothing about what it holds."""
    return [
        f"{line}: {name}"
        for line, name in names(ast.parse(source))
        if name.strip("_").lower() in VAGUE
    ]


@pytest.mark.parametrize("package", NAMED)
def test_names_say_what_they_hold(package: str) -> None:
    paths = sorted((REPO / package).rglob("*.py"))
    assert paths
    assert {
        str(path.relative_to(REPO)): wrong for path in paths if (wrong := vague(path.read_text()))
    } == {}


def test_vague_names_are_found_wherever_a_name_is_given() -> None:
    code = "class Seen:\n    def _found(self, one):\n        self._told = KNOWN\n"
    assert vague(code) == ["1: Seen", "2: _found", "2: one", "3: _told", "3: KNOWN"]
    assert vague("seen_rows = found_at") == []

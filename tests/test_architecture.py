"""Rules that no linter knows. A new one lands here, in the commit that needs it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from trainer.methods.registry import method_names
from trainer.modalities.image.encoders.spec import EncoderName
from trainer.spec.job import EvaluatorSpec

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("mocoserve", "trainer", "service", "worker")
SOURCES = [path for package in PACKAGES for path in sorted((REPO / package).rglob("*.py"))]
TESTS = sorted((REPO / "tests").rglob("*.py"))
MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60
DOORS = {"mocoserve/__init__.py": ('from mocoserve.client import Client\n\n__all__ = ["Client"]\n')}
"""Packages that users import from, with what they give; every other `__init__.py` is empty."""


def _name(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def _tracked() -> list[Path]:
    """Return the files that git tracks; skip where this is no checkout."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [
        path for name in done.stdout.decode().split("\0")[:-1] if (path := REPO / name).exists()
    ]


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_link_of_a_page_leads_somewhere() -> None:
    for page in [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{_name(page)}: {target}"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_name)
def test_a_module_fits_a_few_screens(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_name)
def test_a_function_fits_one_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if path.name == "__init__.py" and _name(path) not in DOORS:
        assert not text
        return
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    assert first.endswith((".", ":", "!"))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_unpickles_runs_a_shell_or_extracts_by_name(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert _imported(tree).isdisjoint({"pickle", "dill", "cloudpickle", "joblib", "shelve"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert _called(node) not in {"extractall", "eval", "exec", "system"}
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert keywords.get("shell") != "True"
            assert keywords.get("weights_only") != "False"


def _imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def _called(node: ast.Call) -> str:
    """The name of a function, or of a method of a module that could run code."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = ast.unparse(node.func.value)
        return node.func.attr if node.func.attr == "extractall" or owner == "os" else ""
    return ""


def test_the_api_loads_no_tensors() -> None:
    heavy = ("torch", "torchvision", "numpy", "PIL", "sklearn", "pyarrow")
    code = f"import sys, service.app; sys.exit([m for m in {heavy} if m in sys.modules] or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def _members(union: Any) -> Iterator[str]:  # noqa: ANN401  # a class, or a union of classes
    """The names by which a spec chooses."""
    for member in get_args(union) or (union,):
        if hasattr(member, "model_fields"):
            yield member.model_fields["name"].default


def _folders(shelf: str) -> set[str]:
    return {path.parent.name for path in (REPO / "trainer" / shelf).glob("*/spec.py")}


def test_every_method_and_evaluator_is_a_folder_and_a_member() -> None:
    assert set(method_names()) == _folders("methods")
    assert set(_members(EvaluatorSpec)) == _folders("evaluators")


@pytest.mark.parametrize("shelf", ["methods", "evaluators", "modalities"])
def test_the_members_of_a_shelf_never_import_one_another(shelf: str) -> None:
    folders = {path.parent.name for path in (REPO / "trainer" / shelf).glob("*/__init__.py")}
    assert folders
    for folder in folders:
        others = "|".join(folders - {folder}) or "(?!)"
        imported = re.compile(rf"(from|import) trainer\.{shelf}\.({others})\b")
        for path in (REPO / "trainer" / shelf / folder).rglob("*.py"):
            assert not imported.search(path.read_text()), _name(path)


def test_every_encoder_that_can_be_named_can_be_built() -> None:
    from trainer.modalities.image.encoders.resnet import DEPTHS

    assert set(get_args(EncoderName)) == {"small", *DEPTHS}


def test_no_file_names_a_registry_or_a_machine() -> None:
    """Addresses of package indexes, and paths of one developer's disk, belong in no file."""
    words = (
        r"(?:py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.(?:org|com))",
        r"-" + r"-(?:extra-)?index-url[ =]",
        r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|home/\w+|opt/wheels)/",
    )
    pattern = re.compile("|".join(words))
    for path in _tracked():
        try:
            found = pattern.search(path.read_text())
        except UnicodeDecodeError:
            continue
        assert found is None, f"{_name(path)}: {found and found[0]}"


def test_ci_runs_what_the_readme_says() -> None:
    script = (REPO / ".ci" / "run").read_text()
    readme = (REPO / "README.md").read_text()
    section = readme.partition("## Tests\n")[2]
    assert section.startswith("```sh\nmake test\n```")
    assert script.splitlines()[-1] == "exec make test"
